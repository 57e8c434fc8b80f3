"""The template language of ARM: text and values in, values out. Knows no store and no HTTP."""
