"""Finds the sites of a model: its activations, and the other operations that a rule can stand at."""

import dataclasses
from typing import Any

from tf_learnprop.graph.activations import ActivationSite, SkipReason, find_site
from tf_learnprop.graph.call_index import CallIndex
from tf_learnprop.graph.operation_sites import operation_kinds
from tf_learnprop.graph.output_end import OutputEnd
from tf_learnprop.graph.reader import Reader
from tf_learnprop.graph.written_out import WrittenOut


class SiteFinder:
    """Finds the sites of a model.

    Args:
        index: `CallIndex` of its calls, what is written out as one call.
        ends: How its outputs end.
        reader: `Reader` of its calls.
    """

    def __init__(self, index: CallIndex, ends: list[OutputEnd], reader: Reader):
        operations = [call.operation for call in index.calls]
        makers = [(operations[end.call], end) for end in ends if end.call is not None]
        self._reader = reader
        self._kinds = operation_kinds(index.calls, index.inputs)
        self._at_output = {
            id(operation)
            for operation, end in makers
            if not end.has_consumers or end.activation and not end.selects
        }
        undone = {id(operation) for operation, end in makers if end.activation and not end.mixed}
        self._mixed = {id(operations[k]) for end in ends for k in end.mixed} - undone
        self._written_out = {
            call.path: call.operation for call in index.calls if isinstance(call.operation, WrittenOut)
        }
        steps = {id(step.operation) for o in self._written_out.values() for step in o.calls}
        self._inner = steps - {*map(id, operations)}

    def sites(self, operations: list[tuple[str, Any]]) -> list[ActivationSite]:
        """The sites among pairs of a path and an operation, in the same order."""
        sites, seen = [], set(self._inner)
        for path, operation in operations:
            why_closed = self._reader.closed.get(id(operation), "")
            if self._reader.is_open(operation) and not why_closed:
                continue
            operation = self._written_out.get(path, operation)
            if id(operation) not in seen:
                seen.add(id(operation))
                sites.append(self._site(path, operation, why_closed))
        return [site for site in sites if site]

    def _site(self, path: str, operation: Any, why_closed: str) -> ActivationSite | None:
        key = id(operation)
        if key in self._mixed:
            site = find_site(path, operation, False, why_closed) or ActivationSite(path, operation, "?")
            return dataclasses.replace(site, skip_reason=SkipReason.NOT_INVERTIBLE, reachable=False)
        # Attention weights may be an output as well, beside what is made with them.
        kind = self._kinds.get(key)
        if kind and (key not in self._at_output or kind in ("attention", "recurrence")):
            return ActivationSite(path, operation, kind, kind=kind)
        return find_site(path, operation, key in self._at_output, why_closed)
