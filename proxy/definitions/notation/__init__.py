"""YAML as a notation for mappings, lists and text: files to nodes with their places, nodes to values, and every fault.

`sources` finds files, `reader` makes nodes, `reading` goes along and collects faults; `kinds`, `shapes` and `values`
are how one sort of node is read and described.
"""
