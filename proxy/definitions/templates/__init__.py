"""Text with placeholders: how it is read, what it may name where, what it comes to.

`expressions` and `calls` are the syntax, `placeholders` and `urls` compile and render, `scope` says what paths stand
for, `permitted` where they may stand; `templated` and `trees` are the kinds of nodes that hold them.
"""
