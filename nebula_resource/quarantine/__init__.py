"""Quarantine: what fails again and again is isolated, probed, and let back in step by step."""

from nebula_resource.quarantine.admission import Admission, AdmissionState, Outcome, Permit
from nebula_resource.quarantine.entry import (
    CascadeFailure,
    ConsecutiveFailures,
    Manual,
    QuarantineEntry,
    QuarantineReason,
)
from nebula_resource.quarantine.gate import HalfOpenGate, HalfOpenTicket
from nebula_resource.quarantine.manager import QuarantineManager
from nebula_resource.quarantine.policy import QuarantinePolicy, RecoveryBackoff
from nebula_resource.quarantine.recovery import RecoveryStrategy, RecoveryTarget
from nebula_resource.quarantine.ward import QuarantineListener, Ward

__all__ = [
    "Admission",
    "AdmissionState",
    "CascadeFailure",
    "ConsecutiveFailures",
    "HalfOpenGate",
    "HalfOpenTicket",
    "Manual",
    "Outcome",
    "Permit",
    "QuarantineEntry",
    "QuarantineListener",
    "QuarantineManager",
    "QuarantinePolicy",
    "QuarantineReason",
    "RecoveryBackoff",
    "RecoveryStrategy",
    "RecoveryTarget",
    "Ward",
]
