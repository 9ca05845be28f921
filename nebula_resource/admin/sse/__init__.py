"""SSE: what happens, told live: one ring, rendered once, a cursor for each reader."""

from nebula_resource.admin.sse.hub import MAX_STREAMS, Hub
from nebula_resource.admin.sse.stream import EventStream

__all__ = ["MAX_STREAMS", "EventStream", "Hub"]
