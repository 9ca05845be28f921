"""Health: what is checked, what is known of each resource, and what follows for those that need it."""

from nebula_resource.health.board import BoardListener, HealthBoard
from nebula_resource.health.cascade import CascadeListener, CascadeWatch, Incident
from nebula_resource.health.checker import CheckListener, HealthChecker
from nebula_resource.health.graph import Graph
from nebula_resource.health.pipeline import HealthPipeline
from nebula_resource.health.process import ProcessMeter
from nebula_resource.health.propagation import Propagation
from nebula_resource.health.schedule import Schedule
from nebula_resource.health.stage import LatencyStage, StageResult
from nebula_resource.health.stages import (
    ConnectivityStage,
    DependencyStage,
    PerformanceStage,
    UtilizationStage,
)
from nebula_resource.health.suspicion import Suspicion, SuspicionListener
from nebula_resource.health.tally import CheckTally
from nebula_resource.health.view import HealthView, Transition
from nebula_resource.model.health import (
    Degraded,
    HealthCheckable,
    HealthPolicy,
    HealthStage,
    HealthState,
    HealthStatus,
    Healthy,
    Postponed,
    Unhealthy,
    Unknown,
)

__all__ = [
    "BoardListener",
    "CascadeListener",
    "CascadeWatch",
    "CheckListener",
    "CheckTally",
    "ConnectivityStage",
    "Degraded",
    "DependencyStage",
    "Graph",
    "HealthBoard",
    "HealthCheckable",
    "HealthChecker",
    "HealthPipeline",
    "HealthPolicy",
    "HealthStage",
    "HealthState",
    "HealthStatus",
    "HealthView",
    "Healthy",
    "Incident",
    "LatencyStage",
    "PerformanceStage",
    "Postponed",
    "ProcessMeter",
    "Propagation",
    "Schedule",
    "StageResult",
    "Suspicion",
    "SuspicionListener",
    "Transition",
    "Unhealthy",
    "Unknown",
    "UtilizationStage",
]
