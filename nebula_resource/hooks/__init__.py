"""Hooks: a user's code beside acquire, release, create, cleanup and changes of health; it may stop the first two."""

from nebula_resource.hooks.builtin import AuditHook, CredentialRefreshHook, MetricsHook, SlowAcquireHook
from nebula_resource.hooks.filters import All, ById, ByIds, ByPrefix, HookFilter
from nebula_resource.hooks.hook import Cancel, ResourceHook
from nebula_resource.hooks.payload import (
    HookEvent,
    HookPayload,
    HookResult,
    OnAcquire,
    OnCleanup,
    OnCreate,
    OnHealthChange,
    OnRelease,
    Outcome,
)
from nebula_resource.hooks.registry import HookRegistry
from nebula_resource.hooks.run import FailureReport, HookRun

__all__ = [
    "All",
    "AuditHook",
    "ById",
    "ByIds",
    "ByPrefix",
    "Cancel",
    "CredentialRefreshHook",
    "FailureReport",
    "HookEvent",
    "HookFilter",
    "HookPayload",
    "HookRegistry",
    "HookResult",
    "HookRun",
    "MetricsHook",
    "OnAcquire",
    "OnCleanup",
    "OnCreate",
    "OnHealthChange",
    "OnRelease",
    "Outcome",
    "ResourceHook",
    "SlowAcquireHook",
]
