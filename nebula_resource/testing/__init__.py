"""Testing tools: what a user of the library needs to test a service that uses it."""

from __future__ import annotations

from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.clock import Stalled, VirtualTimeLoop, run_virtual
from nebula_resource.testing.harness import ResourceTestHarness
from nebula_resource.testing.mock import MockError, MockInstance, MockLease, MockResource, Outcome
from nebula_resource.testing.override import Overrides, StandIn, overriding
from nebula_resource.testing.pool import TestPool

__all__ = [
    "MockError",
    "MockInstance",
    "MockLease",
    "MockResource",
    "Outcome",
    "Overrides",
    "ResourceTestHarness",
    "Stalled",
    "StandIn",
    "TestPool",
    "VirtualTimeLoop",
    "assert_no_leaks",
    "assert_sound",
    "overriding",
    "run_virtual",
]
