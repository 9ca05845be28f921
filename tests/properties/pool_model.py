"""What a pool should be, told in lists of numbers and a handful of rules."""


class Model:
    """What a pool should be: instances by number, callers by name, in order."""

    def __init__(self, max_size: int, *, lifo: bool) -> None:
        self.max_size = max_size
        self.lifo = lifo
        self.state = "open"
        self.fails = False
        self.made = 0
        self.idle: list[int] = []
        self.held: dict[int, int] = {}
        """Caller and instance."""
        self.doomed: set[int] = set()
        self.waiting: list[int] = []
        self.told: dict[int, str] = {}
        """Callers who were refused, and how."""

    @property
    def living(self) -> int:
        """Instances."""
        return len(self.idle) + len(self.held)

    def ask(self, caller: int) -> None:
        """Somebody wants one."""
        if self.state not in {"open", "suspended"}:
            self.told[caller] = "unavailable"
        else:
            self.waiting.append(caller)
            self.serve()

    def serve(self) -> None:
        """Idle ones first, then new ones, in the order of arrival."""
        while self.state == "open" and self.waiting and (self.idle or self.living < self.max_size):
            caller = self.waiting.pop(0)
            if self.idle:
                self.held[caller] = self.idle.pop(-1 if self.lifo else 0)
            elif self.fails:
                self.told[caller] = "create_failed"
            else:
                self.made += 1
                self.held[caller] = self.made

    def come_back(self, caller: int, *, tainted: bool = False) -> None:
        """A use ends."""
        surplus = self.living > self.max_size
        number = self.held.pop(caller)
        if not (tainted or surplus or number in self.doomed or self.state in {"draining", "drained"}):
            self.idle.append(number)
        self.doomed.discard(number)
        self.settle()

    def settle(self) -> None:
        """Something came back or went."""
        if self.state == "draining" and not self.held:
            self.state = "drained"
        self.serve()

    def retire(self, chosen: set[int]) -> None:
        """Idle ones go now, held ones when they come back."""
        self.idle = [number for number in self.idle if number not in chosen]
        self.doomed |= chosen & set(self.held.values())
        self.settle()

    def resize(self, size: int) -> None:
        """Surplus idle ones go, the oldest first."""
        self.max_size = size
        surplus = max(0, self.living - size)
        del self.idle[:surplus]
        self.serve()
