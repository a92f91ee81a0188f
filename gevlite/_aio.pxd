# The part of the event loop that other compiled modules may touch. The territory is _aio.pyx.
from libc.stdint cimport int64_t, uint64_t

from gevlite._core cimport FdEntry, Hub, Place, Waiter
from gevlite._running_loop cimport RunningLoop

cdef class Io(Place):
    """A place in the list of a descriptor's readers or writers, for a loop instead of a greenlet."""
    cdef LoopCore loop
    cdef Hub hub                # where it is linked; None: nowhere
    cdef FdEntry *entry
    cdef int event              # READ or WRITE
    cdef bint due               # in the loop's queue

    cdef int place(self, Hub hub, FdEntry *entry) except -1
    cdef int displace(self) except -1
    cdef int make_due(self) except -1
    cdef int run(self) except -1

cdef class Handle:
    cdef readonly object _loop
    cdef public object _callback
    cdef public object _args
    cdef public object _context
    cdef public object _source_traceback
    cdef public object _repr
    cdef public bint _cancelled
    cdef object __weakref__

    cdef int call(self) except -1

cdef class TimerHandle(Handle):
    cdef int64_t deadline
    cdef uint64_t number
    cdef Py_ssize_t place       # in the loop's heap; -1: none
    cdef public object _when

cdef class Watch(Io):
    cdef int fd
    cdef object source          # what was given to add_reader or add_writer
    cdef Handle handle          # None: removed

    cdef int begin(self, Hub hub) except -1

cdef class LoopCore:
    cdef list ready             # what the next batch runs: Handle and Io
    cdef list spare
    cdef list timers            # a heap of TimerHandle
    cdef uint64_t made          # how many timers were made
    cdef dict readers           # fd: Watch
    cdef dict writers
    cdef set transports         # those that read or write by themselves: notified when the loop begins and ends to run
    cdef Hub hub                # of the thread that runs it; None: it does not run
    cdef Waiter waiter          # its greenlet is parked in the loop's own wait
    cdef RunningLoop running    # while it runs
    cdef size_t ran_by          # the address of the greenlet that runs it, or did so last
    cdef bint sleeps            # its greenlet is parked there, or polls: it has to be woken
    cdef int pid                # of the process in which it began to run
    cdef bint in_main           # its greenlet is the main greenlet of its thread
    cdef public object _thread_id
    cdef public object _current_handle
    cdef public object _task_factory
    cdef public bint _debug
    cdef public bint _closed
    cdef public bint _stopping

    cdef int wake(self) except -1
    cdef Handle soon(self, object callback, tuple args, object context)
    cdef int queue(self, object item) except -1
    cdef TimerHandle at(self, int64_t deadline, object when, object callback, tuple args, object context)
    cdef Handle watch(self, dict watches, int event, object source, object callback, tuple args, object context)
    cdef bint unwatch(self, dict watches, object source) except -1
    cdef int run_by(self, object me) except -1
    cdef int run_batch(self) except -1
    cdef int raise_thrown(self) except -1
    cdef int turn(self) except -1
    cdef int64_t until_timer(self) noexcept
    cdef bint poll(self, int64_t timeout) except -1
    cdef int wait_ready(self) except -1
    cdef int due_timers(self) except -1
    cdef int attach(self, Hub hub) except -1
    cdef int detach(self) except -1

cdef class TransportCore:
    """What a loop needs to know about a transport that is in `transports`."""
    cdef int attach(self, Hub hub) except -1
    cdef int detach(self) except -1

cdef bint is_for_the_greenlet(object exc)
cdef int report(LoopCore loop, str message, object exc, dict more) except -1
