"""Which row of the table of layers owns a product, and which one a parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import prod

from advisor.counting.arguments import operands
from advisor.counting.lineage import Lineage
from advisor.counting.rows import Draft, ModuleKind, finish, kind_of, owner_of, parents
from advisor.counting.work import Work
from advisor.network import Call, Layer, Op, OpGraph


class Drafts:
    """All rows in the order in which the network first meets them."""

    def __init__(
        self, graph: OpGraph, lineage: Lineage, aliases: Mapping[str, str], kinds: Mapping[str, ModuleKind] | None
    ) -> None:
        self._graph = graph
        self._lineage = lineage
        self._plain = None if kinds is None else {name for name, kind in kinds.items() if kind == "product"}
        self._recurrent = {name for name, kind in (kinds or {}).items() if kind == "recurrent"}
        self._rows: dict[str, Draft] = {}
        self._placed: dict[str, str] = {}  # parameter → the row that counts it
        self._waiting: dict[str, Op] = {}  # parameter → the operator on constants alone that first read it
        self._users: defaultdict[str, set[str]] = defaultdict(set)  # parameter → rows that use it as their own
        self._owners: defaultdict[str, set[str]] = defaultdict(set)  # parameter → modules that hold it
        self._containers: set[str] = set()  # modules whose children hold parameters
        for alias, name in aliases.items():
            owner = owner_of(alias)
            self._owners[name].add(owner)
            self._containers.update(parents(owner))

    def __iter__(self) -> Iterator[Draft]:
        return iter(self._rows.values())

    def product(self, work: Work, op: Op) -> str:
        """Adds one product and returns the name of its row."""
        draft = self._of_product(work, op)
        if draft.work is None:
            draft.work, draft.is_module, draft.is_parameter = work, True, False
            draft.calls.clear()
            direct = self._direct(work)
            if direct is not None and draft.kind != "recurrent":
                draft.weight, draft.weight_shape = direct[0], self._lineage.shape[direct[0]]
                draft.turned = direct[1] != work.weight_transposed
        draft.is_module &= op.module == draft.name and (self._plain is None or op.module in self._plain)
        if draft.weight is not None:
            self._users[draft.weight].add(draft.name)
        draft.calls.append(Call(input_shape=work.input_shape, output_shape=work.output_shape, macs=work.macs))
        draft.elements += prod(work.output_shape)
        return draft.name

    def _direct(self, work: Work) -> tuple[str, bool] | None:
        return self._lineage.parameter.get(work.weight) if work.weight is not None else None

    def _of_product(self, work: Work, op: Op) -> Draft:
        names = self._lineage.names(work.weight) if work.weight is not None else ()
        kind = work.kind
        if not names and kind in ("linear", "matmul"):
            names, kind = self._own_factor(op), "matmul"
        if op.module in self._recurrent:
            kind, names = "recurrent", names[:1]
        if not names:
            # No parameter plays the weight's part: a product of two activations.
            beside = self._lineage.names(work.beside) if work.beside is not None else ()
            module = self._owner(beside[0], op) if beside else op.module
            name = f"{module}:{kind}" if module else kind
            return self._rows.setdefault(name, Draft(name, kind, None))
        direct = self._direct(work)
        owner = self._owner(names[0], op)
        name = owner or names[0]
        draft = self._rows.get(name)
        if draft is not None and draft.work is not None:
            same = draft.weight == names[0] and direct is not None if draft.weight is not None else draft.kind == kind
            if not same:
                # A module with several weights: the later ones stand under their own names.
                name = names[0] if direct is not None else op.module or names[0]
        draft = self._rows.setdefault(name, Draft(name, kind, owner))
        if draft.work is None:
            draft.kind = kind  # its parameters may have come first
        return draft

    def _own_factor(self, op: Op) -> tuple[str, ...]:
        """The parameter of the running module with which a product without a declared weight multiplies, if any."""
        if self._lineage.is_static_op(op):
            return ()
        for index in operands(op):
            names = self._lineage.names(index)
            if len(names) == 1 and op.module in self._owners[names[0]]:
                return names
        return ()

    def _owner(self, parameter: str, op: Op) -> str:
        """The module that holds a parameter: the running one where several do (tied weights)."""
        return op.module if op.module in self._owners[parameter] else owner_of(parameter)

    def read(self, op: Op, products: Sequence[str]) -> tuple[list[str], list[str]]:
        """Counts the parameters that `op` reads where this is their first use.

        Args:
            op: the operator, before the lineage follows it.
            products: rows of its products.

        Returns:
            Rows of modules that the data passes here, and rows of mere parameters that join it.
        """
        live = not self._lineage.is_static_op(op)
        passed: dict[str, None] = {}
        feeding: dict[str, None] = {}
        for name in dict.fromkeys(name for index in operands(op) for name in self._lineage.names(index)):
            if not live and not any(self._rows[product].owner in self._owners[name] for product in products):
                self._waiting.setdefault(name, op)
                continue
            row = self._row_of_parameter(name, op, products)
            self._count(name, row)
            if row.is_parameter:
                feeding[row.name] = None
            elif row.name not in products and not (products and row.work is not None):
                passed[row.name] = None
            if row.work is None and name == row.lead:
                row.calls.append(self._call(self._waiting.get(name, op)))
        return list(passed), list(feeding)

    def rest(self) -> None:
        """Counts the parameters that led to nothing but constants."""
        for name, op in self._waiting.items():
            if name not in self._placed:
                row = self._row_of_parameter(name, op, ())
                self._count(name, row)
                if name == row.lead:
                    row.calls.append(self._call(op))

    def _count(self, name: str, row: Draft) -> None:
        if name not in self._placed:
            self._placed[name] = row.name
            row.params += prod(self._lineage.shape[name])
        if not row.is_parameter:
            self._users[name].add(row.name)

    def _row_of_parameter(self, name: str, op: Op, products: Sequence[str]) -> Draft:
        for product in products:
            if self._rows[product].owner in self._owners[name]:
                return self._rows[product]
        if name in self._placed and op.module not in self._owners[name]:
            return self._rows[self._placed[name]]
        first = self._waiting.get(name, op)
        owner = self._owner(name, op)
        if owner in self._rows and not (products and self._rows[owner].work is not None):
            row = self._rows[owner]
            row.lead = row.lead or name
            return row
        if products and "norm" in owner.rpartition(".")[2]:
            # An operator that holds several modules' parameters (the fused encoder): its norms get rows of their own.
            return self._rows.setdefault(owner, Draft(owner, "layer_norm", owner, lead=name))
        # A norm of constants is a norm, although what reads the parameter's result here may be another operator.
        here = op if op.module == owner else first
        if (
            here.module == owner
            and owner
            and owner not in self._containers
            and not products
            and not self._hands_on(here)
        ):
            return self._rows.setdefault(owner, Draft(owner, kind_of(here.target), owner, is_module=True, lead=name))
        return self._rows.setdefault(name, Draft(name, "parameter", owner, is_parameter=True, lead=name))

    def _hands_on(self, op: Op) -> bool:
        # A module that only hands its own parameter on does nothing that a row could be named after.
        return len(operands(op)) == 1 and self._lineage.is_static_op(op)

    def _call(self, op: Op) -> Call:
        first = next(iter(operands(op)))
        output = self._graph.values[op.outputs[0]].shape if op.outputs else ()
        return Call(input_shape=self._graph.values[first].shape, output_shape=output, macs=0)

    def finished(self) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
        """The layers, and a note for each weight that several of them share."""
        weights = {draft.weight for draft in self if draft.weight is not None}
        tied = {weight: sorted(self._users[weight]) for weight in sorted(weights) if len(self._users[weight]) > 1}
        layers = tuple(finish(draft, draft.weight in tied) for draft in self)
        notes = tuple(
            f"{' and '.join(rows)} share {weight}: it counts once, and no pattern thins it out"
            for weight, rows in tied.items()
        )
        return layers, notes
