# Part of _core.pyx: what each hub has done, and how many greenlets it has in which state and for which function. For
# gevlite.metrics, which asks every few seconds, also in a process with very many greenlets: single greenlets are not
# reported, and no stack is read. The rules of _look.pxi apply.

cdef class _Census:
    """Counts for `census` in one hub."""
    cdef dict functions         # (name, file, line) of a function: how many greenlets run it
    cdef Py_ssize_t running, ready, parked, not_begun

    cdef int add(self, greenlet g, greenlet main) except -1:
        """Count what it runs."""
        cdef object key
        if g is main:
            key = ("main greenlet", None, 0)
        elif isinstance(g, CoreGreenlet):
            key = names_of(<CoreGreenlet> g)[1]
        else:
            key = ("raw greenlet", None, 0)
        self.functions[key] = self.functions.get(key, 0) + 1
        return 0

    cdef int count(self, Hub hub) except -1:
        cdef PyObject *p = hub.parked
        cdef Waiter w
        cdef greenlet main = get_main(hub), me = None, g
        cdef size_t i
        cdef Py_ssize_t n
        cdef bint main_is_parked = False
        if <PyObject *> hub == gevlite_thread_hub:
            me = current_greenlet()
        while p != NULL:
            w = <Waiter> p
            p = w.parked_next
            g = w.greenlet
            if runs_loops(hub, g):
                continue        # a callback waits in it
            if g is main:
                main_is_parked = True
            if is_ready(w):
                self.ready += 1
            else:
                self.parked += 1
            self.add(g, main)
        if not main_is_parked and waits_in_place(hub, main, me):
            main_is_parked = True
            self.parked += 1
            self.add(main, main)
        g = None
        if not hub.polling and not hub.closed:
            if me is not None:
                if not (runs_loops(hub, me) or is_parked(hub, me) or me is main and main_is_parked):
                    g = me
            elif hub.current != NULL and is_running(<CoreGreenlet> hub.current):
                g = <greenlet> hub.current
            elif not main_is_parked:
                g = main
        if g is not None:
            self.running += 1
            self.add(g, main)
        for i in range(hub.ready.count):
            self.add_start(begun_by(ring_at(&hub.ready, i)), main)
        for i in range(hub.inbox.count):
            self.add_start(begun_by(ring_at(&hub.inbox, i)), main)
        for n in range(hub.timers.size):
            self.add_start(begins_by(<object> hub.timers.items[n].owner), main)
        return 0

    cdef int add_start(self, greenlet g, greenlet main) except -1:
        """g: a greenlet that has not begun, or None."""
        if g is not None:
            self.not_begun += 1
            self.add(g, main)
        return 0


cdef dict counts_of(Hub hub):
    """What `Hub.stats` returns."""
    drop_dead_pending(hub)
    return {
        "greenlets": hub.greenlets,
        "parked": hub.n_parked,
        "ready": hub.ready.count + hub.inbox.count,
        "timers": hub.timers.size,
        "unref_timers": hub.unref_timers,
        "fds": hub.watched_fds,
        "fd_waiters": hub.fd_waiters,
        "watchers": hub.watchers,
        "refs": hub.refs + hub.thread_refs,
        "pending_throws": len(hub.raw_pending),
        "switches": hub.n_switches,
        "handoffs": hub.n_handoffs,
        "polls": hub.n_polls,
        "spawned": hub.n_spawned,
        "slices": hub.n_slices,
    }


cdef tuple totals_row(HubTotals *t):
    return (t.switches, t.handoffs, t.polls, t.spawned, t.slices, t.lag_ns, lags_of(t.lags))


def census():
    """The counts of each hub, as `(hubs, functions, totals of ended hubs, lag limits)`.

    hubs: dicts. functions: `{(name, file, line): greenlets}` over all hubs. totals: `(switches, handoffs, polls, spawned,
    slices used up, ns of lag, rounds by lag)`, first of hubs of the main thread, then of all others. Does not block, and
    changes nothing.
    """
    cdef Hub hub
    cdef _Census found
    cdef HubTotals done
    cdef dict functions = {}
    cdef list hubs = []
    cdef int64_t now = gevlite_coarse_ns(), began
    for hub in all_hubs():
        found = _Census.__new__(_Census)
        found.functions = functions
        found.count(hub)
        done = totals_of(hub)
        began = began_at(hub.slice_end)
        hubs.append({
            "thread": hub.thread_ident,
            "name": hub.name if type(hub.name) is str else "",
            "backend": type_name(hub.backend),
            "main": bool(hub.is_main_thread),
            "turn_ns": 0 if hub.polling or not began else max(now - began, 0),
            "running": found.running,
            "ready": found.ready,
            "parked": found.parked,
            "not begun": found.not_begun,
            "queue": hub.ready.count + hub.inbox.count,
            "timers": hub.timers.size,
            "descriptors": hub.watched_fds,
            "totals": totals_row(&done),
        })
    return hubs, functions, (totals_row(ended_hubs(True)), totals_row(ended_hubs(False))), lag_limits()
