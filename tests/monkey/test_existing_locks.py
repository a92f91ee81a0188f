"""Locks made before patching become cooperative wherever they are kept, or stay what they are."""


def test_locks_are_replaced_wherever_they_are_kept(script):
    script.run(
        """
        import _thread, queue, threading

        in_module = threading.Lock()
        also_in_module = in_module

        class Slots:
            __slots__ = ("lock",)

        class Plain:
            of_the_class = threading.RLock()

        slots, plain = Slots(), Plain()
        slots.lock, plain.lock = threading.Lock(), threading.RLock()
        in_list, in_dict = [threading.Lock()], {"key": threading.Lock()}
        def make():
            in_cell = threading.Lock()
            return lambda: in_cell
        closure = make()
        in_default = threading.Lock()
        def with_defaults(one=in_default, two=threading.RLock(), three=3):
            return one, two, three
        def with_keyword(*, one=threading.Lock()):
            return one
        condition, event, semaphore = threading.Condition(), threading.Event(), threading.Semaphore()
        tasks = queue.Queue()

        from gevlite import monkey
        monkey.patch_all()
        from gevlite._threadlock import Lock, RLock
        for lock, kind in ((in_module, Lock), (slots.lock, Lock), (Plain.of_the_class, RLock), (plain.lock, RLock),
                           (in_list[0], Lock), (in_dict["key"], Lock), (closure(), Lock), (condition._lock, RLock),
                           (event._cond._lock, Lock), (semaphore._cond._lock, Lock), (tasks.mutex, Lock),
                           (threading._active_limbo_lock, RLock)):
            assert type(lock) is kind, lock
        assert also_in_module is in_module
        # What a function has as the default of an argument.
        assert (type(with_defaults()[0]), type(with_defaults()[1]), with_defaults()[2]) == (Lock, RLock, 3)
        assert with_defaults()[0] is in_default
        assert type(with_keyword()) is Lock
        # A condition keeps the methods of its lock as well.
        assert condition.acquire.__self__ is condition._lock and condition.release.__self__ is condition._lock
        assert condition._is_owned.__self__ is condition._lock
        assert tasks.not_empty._lock is tasks.not_full._lock is tasks.mutex
        """,
        patch="",
    )


def test_what_was_made_before_works_between_greenlets(script):
    lines = script.run(
        """
        import queue, threading
        tasks, event, condition = queue.Queue(1), threading.Event(), threading.Condition()
        from gevlite import monkey
        monkey.patch_all()
        got = []
        def take():
            with condition:
                condition.wait()
            event.wait()
            for _ in range(3):
                got.append(tasks.get())
        thread = threading.Thread(target=take)
        thread.start()
        with condition:
            condition.notify()
        event.set()
        for n in range(3):
            tasks.put(n)
        thread.join()
        print(got)
        """,
        patch="",
    )
    assert lines == ["[0, 1, 2]"]


def test_a_lock_that_is_taken_or_kept_out_of_reach_stays_as_it_is(script):
    """Half a lock protects nothing: it is replaced everywhere or nowhere."""
    script.run(
        """
        import _thread, threading
        taken, owned, out_of_reach, free = threading.Lock(), threading.RLock(), threading.Lock(), threading.Lock()
        also = (out_of_reach,)
        kinds = type(taken), type(owned)
        taken.acquire()
        owned.acquire()
        from gevlite import monkey
        monkey.patch_all()
        assert (type(taken), type(owned), type(out_of_reach)) == (kinds[0], kinds[1], kinds[0])
        assert out_of_reach is also[0] and type(free) is not kinds[0]
        taken.release()
        owned.release()
        """,
        patch="",
    )


def test_only_those_of_logging_if_so_asked(script):
    script.run(
        """
        import logging, threading
        logging.basicConfig()
        lock = threading.Lock()
        kind = [type(lock)]
        from gevlite import monkey
        from gevlite._threadlock import RLock
        monkey.patch_thread(existing_locks=False, logging=False)
        assert type(logging._lock) is not RLock
        monkey.patch_thread(existing_locks=False)
        assert type(logging._lock) is RLock and type(logging.root.handlers[0].lock) is RLock
        assert type(lock) is kind[0]
        """,
        patch="",
    )


def test_imports_between_greenlets_do_not_block_each_other(script):
    """The lock of a module that is being imported was made before; who waits for it must let the others run."""
    script.write("import slow_part\nvalue = slow_part.value\n", "slow_module.py")
    script.write("import time\ntime.sleep(0.02)\nvalue = 1\n", "slow_part.py")
    script.write(
        """
        from gevlite import monkey
        monkey.patch_all()          # while this module's own lock is taken
        import threading
        seen = []
        def work():
            import slow_module
            seen.append(slow_module.value)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        late = threading.Thread(target=lambda: seen.append(__import__("patches_itself").late))
        late.start()                # waits for us to be imported
        threading.Event().wait(0.01)
        late_too_early = len(seen) > 3
        late_value = late = "done"
        """,
        "patches_itself.py",
    )
    lines = script.run(
        """
        import patches_itself, time
        time.sleep(0.01)
        print(patches_itself.seen, patches_itself.late_too_early)
        """,
        patch="",
    )
    assert lines == ["[1, 1, 1, 'done'] False"]


def test_many_locks_are_replaced_in_bearable_time(script):
    lines = script.run(
        """
        import queue, threading, time
        queues = [queue.Queue() for _ in range(500)]
        from gevlite import monkey
        monkey.patch_all()
        print(len({type(q.mutex).__module__ for q in queues}), type(queues[0].mutex).__module__)
        """,
        patch="",
    )
    assert lines == ["1 gevlite._threadlock"]


def test_patching_in_another_os_thread_leaves_the_main_thread_the_main_thread(script):
    lines = script.run(
        """
        import threading
        def patch():
            from gevlite import monkey
            monkey.patch_all()
        patcher = threading.Thread(target=patch)
        patcher.start()
        patcher.join()
        import time
        print(threading.current_thread() is threading.main_thread(), patcher.is_alive())
        seen = []
        thread = threading.Thread(target=lambda: (time.sleep(0.001), seen.append(threading.get_native_id())))
        thread.start()
        thread.join()
        print(seen == [threading.get_native_id()], threading.enumerate() == [threading.main_thread()])
        """,
        patch="",
    )
    assert lines == ["True False", "True True"]
