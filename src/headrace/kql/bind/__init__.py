"""Names and types: the syntax tree in, the typed plan out, with every problem that the text has.

One binder does it all, for everything in a text can stand within everything. It is a chain of classes, a file each; a
class uses those below it, and declares what it needs of those above:

- values: `base`, `calls`, `expressions`
- one table: `operators`, `parsing`, `sources`, `aggregates`
- several, and names for them: `joins`, `shared`, `statements`, `queries`, `expanding`
- what few queries use: `lookups`, `plugins`, `nesting`, `analytics`, `reducing`, `searching`
- calls that look beyond their arguments: `special`; and on top `binder`, the texts of queries and of transforms

`scope` says what names mean. `functions/` declares every function and operator.
"""
