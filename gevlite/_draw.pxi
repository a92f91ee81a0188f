# Part of _core.pyx: the next entry to run is drawn at random from those that are ready, for `gevlite.testing`. See
# "Drawn instead of first in, first out" in docs/design.md.
#
# While a hub has a `_Shuffle`, its slices are over at once, so each turn of the loop runs one ready entry, and no
# greenlet hands over to another. `draw` moves the entry that is drawn to the head of the ready queue, from where it
# runs. All that is random comes from a seed, and each decision is numbered: so a run can be repeated, from its seed or
# from a list of the decisions that were not the usual ones.
#
# Nothing here depends on a clock, an address or the order of a set. A table with addresses as keys is never iterated,
# and what a new greenlet finds at its address is replaced.

from libc.stdlib cimport realloc as c_realloc

# How a seed draws. The seed 0 draws nothing: it is the usual order, first in, first out.
cdef enum:
    DRAW_USUAL = 0
    DRAW_ANY = 1        # each with the same probability
    DRAW_SELDOM = 2     # the first one, or with the probability `rate` any of the others
    # The one with the highest rank. Each greenlet has a random rank; with the probability `rate`, the one that is about
    # to run gets the lowest rank from then on. The idea is that of "probabilistic concurrency testing": Burckhardt,
    # Kothari, Musuvathi, Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding bugs" (ASPLOS
    # 2010). There the number of such rank changes is given, and they are spread over a run whose length is known.
    DRAW_RANKS = 3

# A greenlet that asks again and again whether it must give way does so after so many looks, if at no random moment
# before.
cdef enum:
    SHUFFLE_LOOKS = 100

cdef enum:
    ONE = 1 << 16       # the probability 1


cdef struct Decision:
    uint64_t number     # of the decision, from 1
    int choice          # 0: the usual one


@cython.final
cdef class _Shuffle:
    """_Shuffle(hub, seed, plan=None, switches=False, steps=0)\n--\n
    Draws what runs next in a hub. Call `begin` and `end` in the hub's thread.

    plan: `(number, choice)` of each decision that is not to be the usual one, in the order of their numbers; then
    nothing is random. switches: calls that can block, but need not, give way at random. steps: `overdue` is called
    after so many turns.
    """
    cdef Hub hub
    cdef uint64_t state                     # of the generator
    cdef int strategy
    cdef uint64_t rate                      # of ONE
    cdef readonly bint switches
    cdef Decision *plan
    cdef size_t plan_size, plan_next
    cdef Decision *taken                    # decisions that were not the usual ones, if they are recorded
    cdef size_t n_taken, taken_room
    cdef public bint recording
    cdef readonly list widths               # how many candidates each decision had, if they are recorded
    cdef readonly uint64_t decisions        # how many there were
    cdef readonly uint64_t steps            # how many turns there were
    cdef uint64_t limit
    cdef readonly uint64_t signature        # of what was decided: another one for each schedule, almost certainly
    cdef public object overdue              # called once, after `limit` steps; must not block
    # Called at each step with what may run, the index of what will, and whether the greenlet that ran has given way at
    # random. Must not block.
    cdef public object on_draw
    cdef int looks
    cdef PyObject *last                     # borrowed, never followed: the greenlet that was drawn last
    cdef bint aside                         # it gives way where it need not, so another one must run
    cdef size_t *candidates                 # places in the ready queue
    cdef size_t n_candidates, room
    cdef dict ranks                         # address of a greenlet: its rank
    cdef dict new_ranks                     # the same, for greenlets that have not begun
    cdef uint64_t low                       # the lowest rank so far
    cdef set ordered                        # addresses of greenlets to start before what was queued after them
    cdef Py_ssize_t mark                    # where the entries that a link has queued begin; -1: none

    def __cinit__(self, Hub hub, object seed, plan=None, bint switches=False, uint64_t steps=0):
        cdef uint64_t number
        cdef size_t i
        self.hub = hub
        self.switches = switches
        self.limit = steps
        self.ranks = {}
        self.new_ranks = {}
        self.widths = []
        self.ordered = set()
        self.mark = -1
        self.low = 1 << 40
        self.signature = 0xCBF29CE484222325
        if plan is not None:
            self.plan = <Decision *> calloc(len(plan) + 1, sizeof(Decision))
            if self.plan == NULL:
                raise MemoryError("a schedule")
            for i, (number, choice) in enumerate(plan):
                self.plan[i].number = number
                self.plan[i].choice = choice
            self.plan_size = len(plan)
            return
        number = seed
        self.state = number
        if number:
            self.strategy = <int> (1 + number % 3)
            number //= 3
            if self.strategy == DRAW_ANY:
                self.rate = ONE >> (1 + 2 * (number % 3))       # of switches: one in 2, 8, 32
            else:
                self.rate = ONE >> (1 + number % 6)             # one in 2 to 64

    def __dealloc__(self):
        free(self.plan)
        free(self.taken)
        free(self.candidates)

    # -------- on and off

    def begin(self):
        """Draw from now on. The running greenlet counts as drawn."""
        cdef Hub hub = self.hub
        cdef greenlet me = current_greenlet()
        hub._check_thread("shuffle")
        if hub.shuffle is not None:
            raise RuntimeError("this thread is shuffled already")
        hub.shuffle = self
        hub.before_turn = True
        hub.turn_ns = 0
        hub.slice_end = gevlite_coarse_ns()
        hub.budget = 0
        self.last = <PyObject *> me
        if self.strategy == DRAW_RANKS:
            self.ranks[<size_t> self.last] = self.random()
        looks.every = 1 if self.switches else LOOK_EVERY
        looks.left = looks.every

    def end(self):
        """Draw no more. Does nothing if it does not draw."""
        cdef Hub hub = self.hub
        if hub.shuffle is self:
            hub.shuffle = None
            hub.turn_ns = SLICE_NS
            hub.slice_end = gevlite_coarse_ns() + SLICE_NS
            looks.every = looks.left = LOOK_EVERY

    @property
    def schedule(self):
        """The recorded decisions, in the form of `plan`."""
        cdef size_t i
        return [(self.taken[i].number, self.taken[i].choice) for i in range(self.n_taken)]

    # -------- decisions

    cdef uint64_t random(self) noexcept:
        """The next number of the generator (splitmix64: Steele, Lea, Flood 2014)."""
        cdef uint64_t z
        self.state += <uint64_t> 0x9E3779B97F4A7C15
        z = self.state
        z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
        return z ^ (z >> 31)

    cdef uint64_t below(self, uint64_t n) noexcept:
        return ((self.random() >> 32) * n) >> 32

    cdef int planned(self, int n) noexcept:
        """What the schedule says for the decision that is due."""
        while self.plan_next < self.plan_size and self.plan[self.plan_next].number < self.decisions:
            self.plan_next += 1
        if self.plan_next < self.plan_size and self.plan[self.plan_next].number == self.decisions:
            if self.plan[self.plan_next].choice < n:
                return self.plan[self.plan_next].choice
        return 0

    cdef int decided(self, int choice, int n) except -1:
        cdef size_t room
        cdef void *items
        if self.recording:
            self.widths.append(n)
        if choice:
            self.signature = (self.signature ^ (self.decisions << 8) ^ <uint64_t> choice) * <uint64_t> 0x100000001B3
            if self.recording:
                if self.n_taken == self.taken_room:
                    room = self.taken_room * 2 + 64
                    items = c_realloc(self.taken, room * sizeof(Decision))
                    if items == NULL:
                        raise MemoryError("a schedule")
                    self.taken = <Decision *> items
                    self.taken_room = room
                self.taken[self.n_taken].number = self.decisions
                self.taken[self.n_taken].choice = choice
                self.n_taken += 1
        return choice

    cdef uint64_t rank_of(self, size_t place) except? 0:
        """The rank of a candidate."""
        cdef Entry *e = ring_at(&self.hub.ready, place)
        cdef dict ranks
        cdef size_t key
        if e.kind == START:
            ranks, key = self.new_ranks, <size_t> e.target
        elif e.kind == RESUME:
            ranks, key = self.ranks, <size_t> <PyObject *> (<Waiter> e.target).greenlet
        else:
            return self.random()        # a callback belongs to no greenlet
        found = ranks.get(key)
        if found is None:
            found = ranks[key] = self.random() | (<uint64_t> 1 << 63)
        return found

    cdef int lower(self, size_t place) except -1:
        cdef Entry *e = ring_at(&self.hub.ready, place)
        self.low -= 1
        if e.kind == START:
            self.new_ranks[<size_t> e.target] = self.low
        elif e.kind == RESUME:
            self.ranks[<size_t> <PyObject *> (<Waiter> e.target).greenlet] = self.low
        return 0

    cdef int highest(self) except -1:
        cdef uint64_t best = 0, rank
        cdef int found = 0
        cdef size_t i
        for i in range(self.n_candidates):
            rank = self.rank_of(self.candidates[i])
            if rank > best:
                best, found = rank, <int> i
        return found

    cdef int choose(self) except -1:
        """Which candidate runs."""
        cdef int n = <int> self.n_candidates, k = 0
        if n == 1:
            return 0
        self.decisions += 1
        if self.strategy == DRAW_USUAL:
            k = self.planned(n)
        elif self.strategy == DRAW_ANY:
            k = <int> self.below(n)
        elif self.strategy == DRAW_SELDOM:
            if self.below(ONE) < self.rate:
                k = 1 + <int> self.below(n - 1)
        else:
            k = self.highest()
            if self.below(ONE) < self.rate:
                self.lower(self.candidates[k])
                k = self.highest()
        return self.decided(k, n)

    cdef bint gives_way(self) except -1:
        """Whether the running greenlet is to give way at this call, where it can."""
        cdef Hub hub = self.hub
        cdef greenlet me
        cdef bint other
        cdef uint64_t mine
        self.looks += 1
        if self.looks >= SHUFFLE_LOOKS:
            me = current_greenlet()
            self.last = <PyObject *> me
            self.aside = True
            return True                 # its time is up, as it would be by the clock
        if not self.switches or not hub.ready.count and not hub.watched_fds and not inbox_waits(hub):
            return False
        me = current_greenlet()
        self.decisions += 1
        if self.strategy == DRAW_USUAL:
            other = self.planned(2)
        elif self.strategy != DRAW_RANKS:
            other = self.below(ONE) < self.rate
        else:
            mine = self.ranks.get(<size_t> <PyObject *> me, 0)
            if self.below(ONE) < self.rate:
                self.low -= 1
                mine = self.low
                self.ranks[<size_t> <PyObject *> me] = mine
            self.find_candidates()
            other = self.n_candidates and self.rank_of(self.candidates[self.highest()]) > mine
        if other:
            self.last = <PyObject *> me
            self.aside = True
        return self.decided(other, 2)

    # -------- the ready queue

    cdef int candidate(self, size_t place) except -1:
        cdef void *items
        if self.n_candidates == self.room:
            items = c_realloc(self.candidates, (self.room * 2 + 64) * sizeof(size_t))
            if items == NULL:
                raise MemoryError("who may run")
            self.candidates = <size_t *> items
            self.room = self.room * 2 + 64
        self.candidates[self.n_candidates] = place
        self.n_candidates += 1
        return 0

    cdef bint find_candidates(self) except -1:
        """Find the entries that may run now. False: the first candidate is an entry that does nothing.

        The order that the documentation promises remains. Callbacks run in their order. No entry overtakes a linked
        callback or a callback of `call_soon` that was queued before it; a callback of `call_soon` runs after what was
        ready before it. What a link has started begins before what was queued later. An exception for a greenlet is
        ordered like a link.
        """
        cdef Ring *ring = &self.hub.ready
        cdef size_t i, yielder = 0
        cdef bint yields = False, called = False
        cdef Entry *e
        cdef Waiter w
        self.n_candidates = 0
        for i in range(ring.count):
            e = ring_at(ring, i)
            if e.kind == RESUME:
                w = <Waiter> e.target
                if w.state != WOKEN:
                    self.n_candidates = 0
                    self.candidate(i)
                    return False
                if w.kind == WAIT_YIELD and <PyObject *> w.greenlet == self.last:
                    if self.aside:
                        yields = True
                        yielder = i
                        continue
                    if self.strategy == DRAW_RANKS:
                        self.lower(i)       # else those of lower ranks would never run
                self.candidate(i)
            elif e.kind == START:
                self.candidate(i)
                if self.ordered and <size_t> e.target in self.ordered:
                    break
            elif e.kind == CALL and isinstance(<object> e.target, Timer):
                if not called:
                    self.candidate(i)
                called = True
            else:
                if not called and (e.kind == THROW or isinstance(<object> e.target, LinkCall) or i == 0):
                    self.candidate(i)
                break
        if yields and not self.n_candidates:
            self.candidate(yielder)
        return True

    cdef int draw(self) except -1:
        """Move the entry that is to run next to the head of the ready queue. There is at least one."""
        cdef Ring *ring = &self.hub.ready
        cdef Entry *e
        cdef Entry chosen
        cdef size_t i, place
        cdef int k = 0
        if self.mark >= 0:
            for i in range(self.mark, ring.count):
                e = ring_at(ring, i)
                if e.kind == START:
                    self.ordered.add(<size_t> e.target)
            self.mark = -1
        if self.find_candidates():
            k = self.choose()
            self.steps += 1
            self.looks = 0
            if self.on_draw is not None:
                self.tell(k)
            if self.limit and self.steps >= self.limit:
                self.limit = 0
                if self.overdue is not None:
                    self.overdue()
        place = self.candidates[k]
        chosen = ring_at(ring, place)[0]
        for i in range(place, 0, -1):
            ring_at(ring, i)[0] = ring_at(ring, i - 1)[0]
        ring_at(ring, 0)[0] = chosen
        self.last = NULL
        self.aside = False
        if chosen.kind == RESUME:
            self.last = <PyObject *> (<Waiter> chosen.target).greenlet
        elif chosen.kind == START:
            self.last = chosen.target
            if self.ordered:
                self.ordered.discard(<size_t> self.last)
            if self.strategy == DRAW_RANKS:
                rank = self.new_ranks.pop(<size_t> self.last, None)
                self.ranks[<size_t> self.last] = rank if rank is not None else self.random() | (<uint64_t> 1 << 63)
        elif chosen.kind == CALL and isinstance(<object> chosen.target, LinkCall):
            self.mark = ring.count - 1
        return 0

    cdef int tell(self, int k) except -1:
        cdef Entry *e
        cdef size_t i
        cdef list found = []
        for i in range(self.n_candidates):
            e = ring_at(&self.hub.ready, self.candidates[i])
            found.append(<object> e.target)
        self.on_draw(found, k, bool(self.aside))
        return 0


cdef int begin_turn(Hub hub) except -1:
    """Do what `hub.before_turn` asks for."""
    if hub.raw_pending:
        drop_dead_pending(hub)
    if hub.shuffle is None:
        hub.before_turn = bool(hub.raw_pending)
    elif hub.ready.count:
        (<_Shuffle> hub.shuffle).draw()
    return 0


cdef int sort_found(Backend backend) noexcept:
    """Sort what a poll has found by descriptors: the kernel's order may differ in the next run."""
    cdef int i, j
    cdef Ready one
    for i in range(1, backend.n_found):
        one = backend.found[i]
        j = i
        while j and backend.found[j - 1].fd > one.fd:
            backend.found[j] = backend.found[j - 1]
            j -= 1
        backend.found[j] = one
    return 0


def timed(Hub hub):
    """`(owner, greenlet, ref)` of each timer and time-out of the hub, in no particular order.

    owner: a Timer, or a Waiter with a time-out; greenlet: what it wakes, begins or raises in; None for a call.
    """
    cdef Py_ssize_t i
    cdef PyObject *struck
    cdef list found = []
    for i in range(hub.timers.size):
        owner = <object> hub.timers.items[i].owner
        if isinstance(owner, Waiter):
            found.append((owner, (<Waiter> owner).greenlet, bool((<Waiter> owner).ref)))
            continue
        struck = (<Timer> owner).strikes()
        found.append((owner, <object> struck if struck != NULL else begins_by(owner), bool((<Timer> owner).ref)))
    return found
