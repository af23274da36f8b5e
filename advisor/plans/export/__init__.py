"""Plans for other training libraries: one file per format, behind `export_plan`."""

from advisor.plans.export.exporter import EXPORTERS, Exported, Exporter, Source
from advisor.plans.export.provenance import plan_digest
from advisor.plans.export.write import Receipt, export_plan, read_provenance

__all__ = [
    "EXPORTERS",
    "Exported",
    "Exporter",
    "Receipt",
    "Source",
    "export_plan",
    "plan_digest",
    "read_provenance",
]
