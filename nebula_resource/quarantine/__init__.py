"""Quarantine: what fails again and again is isolated, probed, and let back in step by step."""

from nebula_resource.quarantine.entry import (
    CascadeFailure,
    ConsecutiveFailures,
    Manual,
    QuarantineEntry,
    QuarantineReason,
)
from nebula_resource.quarantine.policy import QuarantinePolicy, RecoveryBackoff
from nebula_resource.quarantine.recovery import RecoveryStrategy, RecoveryTarget

__all__ = [
    "CascadeFailure",
    "ConsecutiveFailures",
    "Manual",
    "QuarantineEntry",
    "QuarantinePolicy",
    "QuarantineReason",
    "RecoveryBackoff",
    "RecoveryStrategy",
    "RecoveryTarget",
]
