"""The composition roots: one module a process, the only places that wire the parts."""
