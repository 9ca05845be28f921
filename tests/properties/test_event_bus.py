"""Properties of the event bus: every reader gets exactly what was published to it, or knows how much it lost."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from nebula_resource.events import (
    EVENTS,
    Acquired,
    CircuitOpened,
    Event,
    EventBus,
    Lagged,
    Overflow,
    Overrun,
    PoolDraining,
    event_from_json,
)
from nebula_resource.model.scope import Scope
from nebula_resource.testing.clock import run_virtual
from tests.unit.events.test_types import own_fields

# A program for one publisher and some readers: publish n events, or let reader i take up to n.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.just(0), st.integers(1, 12)),
        st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 12)),
    ),
    max_size=40,
)
readers = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(list(Overflow))), min_size=3, max_size=3)


class Model:
    """What a reader should see, written down naively."""

    def __init__(self, buffer: int, overflow: Overflow) -> None:
        self.buffer, self.overflow = buffer, overflow
        self.line: deque[int | Lagged] = deque()
        self.over = False

    def put(self, seq: int) -> None:
        if self.over:
            return
        if sum(isinstance(item, int) for item in self.line) < self.buffer:
            self.line.append(seq)
            return
        if self.overflow is Overflow.CLOSE:
            self.over = True
        elif self.overflow is Overflow.DROP_OLDEST:
            at = 1 if isinstance(self.line[0], Lagged) else 0
            lost = self.line[0].lost if isinstance(self.line[0], Lagged) else 0
            for _ in range(at + 1):
                self.line.popleft()
            self.line.appendleft(Lagged(lost + 1))
            self.line.append(seq)
        elif isinstance(self.line[-1], Lagged):
            self.line[-1] = Lagged(self.line[-1].lost + 1)
        else:
            self.line.append(Lagged(1))

    def take(self, count: int) -> list[int | Lagged]:
        return [self.line.popleft() for _ in range(min(count, len(self.line)))]


@settings(max_examples=1000)
@given(steps=steps, readers=readers)
def test_each_reader_sees_the_model(
    steps: list[tuple[str, int, int]], readers: list[tuple[int, Overflow]]
) -> None:
    """Whatever the order of publishing and reading, events and markers come as the naive model says."""

    async def main() -> None:
        bus = EventBus()
        models = [Model(*reader) for reader in readers]
        subscriptions = [bus.subscribe(buffer=buffer, overflow=overflow) for buffer, overflow in readers]
        for what, index, count in steps:
            if what == "publish":
                for _ in range(count):
                    before = bus.seq
                    bus.publish(PoolDraining, "db")
                    if bus.seq > before:  # all may have been closed
                        for model in models:
                            model.put(bus.seq)
                continue
            expected = models[index].take(count)
            got: list[int | Lagged] = []
            for _ in expected:
                item = await anext(subscriptions[index])
                got.append(item if isinstance(item, Lagged) else item.seq)
            assert got == expected
        bus.close()
        for model, subscription in zip(models, subscriptions, strict=True):
            rest: list[int | Lagged] = []
            overran = False
            try:
                async for item in subscription:
                    rest.append(item if isinstance(item, Lagged) else item.seq)
            except Overrun:
                overran = True
            assert rest == list(model.line)
            assert overran == model.over

    run_virtual(main())


@settings(max_examples=1000)
@given(
    turns=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30),
    buffer=st.integers(1, 3),
    overflow=st.sampled_from([Overflow.DROP_OLDEST, Overflow.DROP_NEWEST]),
)
def test_one_reader_over_a_long_time_sees_the_model(
    turns: list[tuple[int, int]], buffer: int, overflow: Overflow
) -> None:
    """Turn after turn of publishing a few and reading a few, with a buffer so short that it overflows often."""

    async def main() -> None:
        bus = EventBus()
        model = Model(buffer, overflow)
        subscription = bus.subscribe(buffer=buffer, overflow=overflow)
        for published, read in turns:
            for _ in range(published):
                bus.publish(PoolDraining)
                model.put(bus.seq)
            for expected in model.take(read):
                item = await anext(subscription)
                assert (item if isinstance(item, Lagged) else item.seq) == expected

    run_virtual(main())


@settings(max_examples=1000)
@given(
    bursts=st.lists(st.integers(1, 8), max_size=12),
    buffer=st.integers(1, 8),
    overflow=st.sampled_from([Overflow.DROP_OLDEST, Overflow.DROP_NEWEST]),
    pauses=st.lists(st.integers(0, 3), min_size=1, max_size=5),
)
def test_seen_and_lost_add_up(bursts: list[int], buffer: int, overflow: Overflow, pauses: list[int]) -> None:
    """A concurrent reader of any speed sees rising numbers, and what it saw and lost is all there was, gap by gap."""

    async def main() -> None:
        bus = EventBus()
        subscription = bus.subscribe(buffer=buffer, overflow=overflow)
        items: list[Event | Lagged] = []

        async def reader() -> None:
            turn = 0
            async for item in subscription:
                items.append(item)
                turn += 1
                await asyncio.sleep(pauses[turn % len(pauses)])

        task = asyncio.create_task(reader())
        for burst in bursts:
            for _ in range(burst):
                bus.publish(CircuitOpened, "db")
            await asyncio.sleep(1)
        bus.close()
        await task
        expected = 1
        for item in items:
            if isinstance(item, Lagged):
                expected += item.lost
            else:
                assert item.seq == expected
                expected += 1
        assert expected == bus.seq + 1
        assert subscription.dropped == sum(item.lost for item in items if isinstance(item, Lagged))

    run_virtual(main())


@settings(max_examples=1000)
@given(
    event_type=st.sampled_from(EVENTS),
    texts=st.tuples(st.text(), st.text()),
    tenant=st.from_regex(r"[A-Za-z0-9_.:/%=-]{1,40}", fullmatch=True),
    seq=st.integers(0, 2**63),
    at=st.datetimes(timezones=st.just(UTC)),
    number=st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_event_survives_json(
    event_type: type[Event], texts: tuple[str, str], tenant: str, seq: int, at: datetime, number: float
) -> None:
    """Whatever stands in an event, its JSON is the same event again."""
    own = {
        name: texts[0] if isinstance(value, str) else number if isinstance(value, float) else value
        for name, value in own_fields(event_type).items()
    }
    event = event_type(
        seq=seq, at=at, resource_id=texts[1], public_id=None, scope=Scope.tenant(tenant), **own
    )
    assert event_from_json(event.to_json()) == event


@settings(max_examples=1000)
@given(
    wanted=st.sets(st.sampled_from(["a", "b", "c"]), min_size=1),
    published=st.lists(st.sampled_from(["a", "b", "c"]), max_size=20),
)
def test_order_of_each_resource_is_the_order_of_happening(wanted: set[str], published: list[str]) -> None:
    """Each reader of one resource gets exactly its events, in the order in which they were published."""

    async def main() -> None:
        bus = EventBus()
        subscriptions = {resource: bus.subscribe(Acquired, resource=resource) for resource in wanted}
        for index, resource in enumerate(published):
            bus.publish(Acquired, resource, waited_s=float(index))
        bus.close()
        for resource, subscription in subscriptions.items():
            got = [event.waited_s async for event in subscription if isinstance(event, Acquired)]
            assert got == [float(index) for index, of in enumerate(published) if of == resource]

    run_virtual(main())
