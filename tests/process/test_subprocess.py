"""gevlite.subprocess: does what the original does, but blocks only the waiting greenlet.

Tests that take `lib` run twice with the same assertions: against the original in threads, then against the twin.
"""

import fcntl
import inspect
import io
import os
import select
import signal
import subprocess as std_subprocess
import sys
import threading

import pytest

import gevlite
from gevlite import _children, _fileio, subprocess
from gevlite._core import get_hub
from gevlite.event import Event

PIPE, STDOUT, DEVNULL = std_subprocess.PIPE, std_subprocess.STDOUT, std_subprocess.DEVNULL
# More than all pipes and buffers on the way hold.
BIG = bytes(range(256)) * 8000


@pytest.fixture
def sub(lib):
    """The subprocess module under test."""
    return lib.module("subprocess")


def python(code):
    """A command that runs `code`, in a Python that starts fast."""
    return [sys.executable, "-I", "-S", "-c", code]


def still_there(pid):
    """True as long as there is a process with that number, even a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until_output(process):
    """Block the thread until the child has written something to its stdout, which is not read here."""
    assert select.select([process.stdout], [], [], 30)[0]


# ---------------------------------------------------------------- the functions


def test_run_returns_output_and_exit_code(sub):
    done = sub.run(["sh", "-c", "echo out; echo err >&2; exit 3"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert type(done) is std_subprocess.CompletedProcess


def test_run_with_check_raises_the_originals_exception(sub):
    with pytest.raises(std_subprocess.CalledProcessError) as caught:
        sub.run("echo why; exit 4", shell=True, stdout=PIPE, check=True)
    assert (caught.value.returncode, caught.value.stdout) == (4, b"why\n")


def test_call_check_call_and_check_output(sub):
    assert sub.call(["sh", "-c", "exit 5"]) == 5
    assert sub.check_call(["true"]) == 0
    with pytest.raises(std_subprocess.CalledProcessError):
        sub.check_call(["false"])
    assert sub.check_output(["cat"], input=b"data") == b"data"
    assert sub.check_output("echo a; echo b >&2", shell=True, stderr=STDOUT, text=True) == "a\nb\n"


def test_getoutput_and_getstatusoutput(sub):
    assert sub.getoutput("echo a; echo b >&2") == "a\nb"
    assert sub.getstatusoutput("echo a; exit 6") == (6, "a")


@pytest.mark.parametrize("call", ["run", "call"])
def test_run_and_call_kill_the_child_when_the_time_is_over(sub, pipe, call):
    with pytest.raises(std_subprocess.TimeoutExpired):
        getattr(sub, call)(["sleep", "100"], stdout=pipe[1], timeout=0.05)
    os.close(pipe[1])
    assert os.read(pipe[0], 1) == b""  # the other end is closed everywhere


def test_many_run_at_the_same_time(lib, sub, pipe, opened):
    r, w = os.pipe()
    opened.callback(os.close, r)
    opened.callback(os.close, w)
    command = ["sh", "-c", f"echo; read x </dev/fd/{r}"]
    jobs = [lib.spawn(lambda: sub.run(command, stdout=pipe[1], pass_fds=[r])) for _ in range(20)]
    begun = 0
    while begun < 20:
        begun += len(lib.module("os").read(pipe[0], 20))
    os.write(w, b"\n" * 20)
    assert [job.get().returncode for job in jobs] == [0] * 20


# ---------------------------------------------------------------- communicate


def test_large_data_in_both_directions_does_not_deadlock(sub):
    process = sub.Popen(["tee", "/dev/stderr"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, err = process.communicate(BIG)
    assert (out == BIG, err == BIG, process.returncode) == (True, True, 0)


def test_large_output_alone(sub):
    done = sub.run(["head", "-c", str(len(BIG)), "/dev/zero"], stdout=PIPE)
    assert done.stdout == bytes(len(BIG))


def test_large_input_alone(sub):
    process = sub.Popen(python("import sys; sys.exit(len(sys.stdin.buffer.read()) % 251)"), stdin=PIPE)
    assert process.communicate(BIG) == (None, None)
    assert process.returncode == len(BIG) % 251


@pytest.mark.parametrize("input", [bytearray(BIG), memoryview(BIG)], ids=["bytearray", "memoryview"])
def test_input_may_be_any_bytes(sub, input):
    assert sub.run(["cat"], input=input, stdout=PIPE).stdout == BIG


@pytest.mark.parametrize("empty", [None, b""])
@pytest.mark.parametrize("timeout", [None, 20])
def test_no_input_closes_the_childs_input(sub, empty, timeout):
    process = sub.Popen(["cat"], stdin=PIPE, stdout=PIPE)
    assert process.communicate(empty, timeout=timeout) == (b"", None)
    assert process.stdin.closed and process.stdout.closed


def test_empty_text_closes_the_childs_input(sub):
    process = sub.Popen(["cat"], stdin=PIPE, stdout=PIPE, text=True)
    assert process.communicate("") == ("", None)


def test_a_child_that_does_not_read_its_input_is_no_error(sub):
    process = sub.Popen(["true"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert process.communicate(BIG) == (b"", b"")
    assert sub.run(["true"], input=BIG).returncode == 0


def test_what_was_written_before_comes_first(sub):
    process = sub.Popen(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    process.stdin.write(b"first ")
    assert process.communicate(b"second") == (b"first second", b"")


def test_after_a_timeout_communicate_goes_on_and_loses_nothing(sub, pipe):
    command = f"echo one; read x; read y </dev/fd/{pipe[0]}; echo two >&2; echo three"
    process = sub.Popen(command, shell=True, stdin=PIPE, stdout=PIPE, stderr=PIPE, pass_fds=[pipe[0]])
    with pytest.raises(std_subprocess.TimeoutExpired) as caught:
        process.communicate(timeout=0)
    assert caught.value.cmd == process.args
    os.write(pipe[1], b"\n")
    assert process.communicate(timeout=20) == (b"one\nthree\n", b"two\n")


def test_a_timeout_tells_what_has_come_so_far(sub):
    process = sub.Popen(["sh", "-c", "echo one; exec sleep 100"], stdout=PIPE, stderr=PIPE)
    until_output(process)
    with pytest.raises(std_subprocess.TimeoutExpired) as caught:
        process.communicate(timeout=0.3)
    assert (caught.value.output, caught.value.stderr) == (b"one\n", None)
    process.kill()
    assert process.communicate() == (b"one\n", b"")


def test_the_time_in_a_timeout_is_what_was_asked_for():
    """As in the original from Python 3.15 on; before, it was sometimes the remaining time."""
    with subprocess.Popen(["sleep", "100"], stdout=PIPE, stderr=PIPE) as process:
        for wait in (process.wait, lambda timeout: process.communicate(timeout=timeout)):
            with pytest.raises(std_subprocess.TimeoutExpired) as caught:
                wait(timeout=0.125)
            assert caught.value.timeout == 0.125
        process.kill()
    for function in (subprocess.run, subprocess.call, subprocess.check_output):
        with pytest.raises(std_subprocess.TimeoutExpired) as caught:
            function(["sleep", "100"], timeout=0.125)
        assert caught.value.timeout == 0.125


def test_also_of_a_child_that_has_closed_its_output_and_lives_on():
    with subprocess.Popen("echo all; exec sleep 100 >&- 2>&-", shell=True, stdout=PIPE, stderr=PIPE) as process:
        until_output(process)
        with pytest.raises(std_subprocess.TimeoutExpired) as caught:
            process.communicate(timeout=0.25)
        process.kill()
    assert (caught.value.timeout, caught.value.output, caught.value.stderr) == (0.25, b"all\n", None)


@pytest.mark.parametrize("data", [None, b"", b"data"])
@pytest.mark.parametrize("timeout", [None, 20])
def test_communicate_when_the_childs_input_is_closed_already(data, timeout):
    """The original can from Python 3.14 on."""
    process = subprocess.Popen(["sh", "-c", "cat; echo why >&2"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    process.stdin.close()
    assert process.communicate(data, timeout) == (b"", b"why\n")
    assert process.returncode == 0


def test_input_after_communication_has_begun_is_refused(sub):
    process = sub.Popen(["sleep", "100"], stdin=PIPE, stdout=PIPE)
    with pytest.raises(std_subprocess.TimeoutExpired):
        process.communicate(b"x" * 10, timeout=0)
    with pytest.raises(ValueError):
        process.communicate(b"more")
    process.kill()
    process.communicate()


def test_a_timeout_ends_it_although_data_keeps_coming(sub):
    with sub.Popen(["yes"], stdout=PIPE, stderr=PIPE) as process:
        with pytest.raises(std_subprocess.TimeoutExpired):
            process.communicate(timeout=0.1)
        process.kill()


# ---------------------------------------------------------------- text


def test_text_is_decoded_and_newlines_translated(sub):
    command = ["printf", r"a\r\nb\rc\n"]
    assert sub.run(command, stdout=PIPE, text=True).stdout == "a\nb\nc\n"
    assert sub.run(command, stdout=PIPE, stderr=PIPE, universal_newlines=True).stdout == "a\nb\nc\n"
    with sub.Popen(command, stdout=PIPE, text=True) as process:
        assert process.stdout.readlines() == ["a\n", "b\n", "c\n"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
@pytest.mark.parametrize("timeout", [None, 20])
def test_encoding_is_for_input_and_output(sub, encoding, timeout):
    text = "gr\u00fc\u00dfe\n" * 1000
    process = sub.Popen(["cat"], stdin=PIPE, stdout=PIPE, encoding=encoding)
    assert process.communicate(text, timeout=timeout) == (text, None)
    assert process.stdin.encoding == encoding


def test_errors_says_what_cannot_be_decoded(sub):
    command = ["printf", r"\377"]
    assert sub.run(command, stdout=PIPE, encoding="ascii", errors="replace").stdout == "\ufffd"
    assert sub.run(command, stdout=PIPE, stderr=PIPE, encoding="ascii", errors="ignore").stdout == ""
    with pytest.raises(UnicodeDecodeError):
        sub.run(command, stdout=PIPE, encoding="ascii")


# ---------------------------------------------------------------- pipes


def test_a_dialogue_line_by_line(sub):
    with sub.Popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        for n in range(50):
            process.stdin.write(b"line %d\n" % n)
            process.stdin.flush()
            assert process.stdout.readline() == b"line %d\n" % n
        process.stdin.close()
        assert process.stdout.read() == b""


def test_a_dialogue_in_text_with_line_buffering(sub):
    with sub.Popen(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        for n in range(50):
            print("line", n, file=process.stdin)
            assert process.stdout.readline() == f"line {n}\n"


def test_iterating_over_the_lines(sub):
    with sub.Popen(["seq", "20000"], stdout=PIPE, text=True) as process:
        assert sum(map(int, process.stdout)) == 20000 * 20001 // 2


def test_unbuffered_pipes_are_raw(sub):
    with sub.Popen(["cat"], stdin=PIPE, stdout=PIPE, bufsize=0) as process:
        assert isinstance(process.stdin, io.RawIOBase) and isinstance(process.stdout, io.RawIOBase)
        assert process.stdin.write(b"now") == 3
        assert process.stdout.read(100) == b"now"
        process.stdin.close()
        assert process.stdout.read() == b""


def test_buffered_pipes_are_buffered(sub):
    with sub.Popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        assert isinstance(process.stdin, io.BufferedIOBase) and isinstance(process.stdout, io.BufferedIOBase)
        assert process.stdin.write(b"later") == 5
        process.stdin.flush()
        assert process.stdout.read(3) == b"lat"
        assert process.stdout.peek(1) == b"er"


@pytest.mark.parametrize("bufsize", [0, 1000, -1])
def test_writing_more_than_the_pipe_holds(lib, sub, bufsize):
    with sub.Popen(["cat"], stdin=PIPE, stdout=PIPE, bufsize=bufsize) as process:
        reader = lib.spawn(process.stdout.read)
        sent = 0
        while sent < len(BIG):
            sent += process.stdin.write(BIG[sent:])
        process.stdin.close()
        assert reader.get() == BIG


@pytest.mark.parametrize("text", [False, True])
def test_whoever_reads_when_the_context_ends_gets_everything(start, settle, text):
    """`close` waits for a read, as between threads."""
    with subprocess.Popen(python("input(); print('x' * 100_000)"), stdin=PIPE, stdout=PIPE, text=text) as process:
        reading = start(process.stdout.read)
        assert settle(lambda: get_hub().stats()["fd_waiters"])
        process.stdin.write("go\n" if text else b"go\n")
        process.stdin.flush()
    assert len(reading.get()) == 100_001


def test_writing_to_a_child_that_is_gone_raises_broken_pipe(sub):
    with sub.Popen(["true"], stdin=PIPE, bufsize=0) as process:
        process.wait()
        with pytest.raises(BrokenPipeError):
            process.stdin.write(b"x")


def test_the_output_of_one_is_the_input_of_another(sub):
    """The other program must get the pipe in blocking mode."""
    first = sub.Popen(["sh", "-c", "echo a; sleep 0.1; echo b"], stdout=PIPE)
    second = sub.Popen(["cat"], stdin=first.stdout, stdout=PIPE, stderr=PIPE)
    first.stdout.close()
    assert second.communicate() == (b"a\nb\n", b"")
    assert (first.wait(), second.returncode) == (0, 0)


def test_output_to_files_descriptors_and_nowhere(sub, tmp_path):
    path = tmp_path / "out"
    with path.open("wb") as file:
        sub.check_call(["echo", "to a file"], stdout=file)
        sub.check_call(["echo", "to a descriptor"], stdout=file.fileno())
        sub.check_call(["echo", "nowhere"], stdout=DEVNULL)
    assert path.read_text() == "to a file\nto a descriptor\n"
    with path.open("rb") as file:
        assert sub.check_output(["head", "-n", "1"], stdin=file) == b"to a file\n"
    assert sub.run(["cat"], stdin=DEVNULL, stdout=PIPE).stdout == b""


@pytest.mark.skipif(not hasattr(fcntl, "F_GETPIPE_SZ"), reason="needs F_GETPIPE_SZ")
def test_pipesize(sub):
    with sub.Popen(["cat"], stdin=PIPE, stdout=PIPE, pipesize=8192) as process:
        for end in (process.stdin, process.stdout):
            assert fcntl.fcntl(end.fileno(), fcntl.F_GETPIPE_SZ) == 8192


# ---------------------------------------------------------------- how the child is started


def test_a_program_that_does_not_exist(sub):
    with pytest.raises(FileNotFoundError) as caught:
        sub.Popen(["/does/not/exist"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert caught.value.filename == "/does/not/exist"


def test_a_folder_that_does_not_exist(sub):
    with pytest.raises(FileNotFoundError) as caught:
        sub.run(["true"], cwd="/does/not/exist")
    assert caught.value.filename == "/does/not/exist"


def test_a_failed_start_leaves_no_descriptor_open(sub):
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else None
    for _ in range(5):
        with pytest.raises(FileNotFoundError):
            sub.Popen(["/does/not/exist"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == len(before)


def test_cwd_env_executable_and_shell(sub, tmp_path):
    assert sub.check_output(["pwd"], cwd=tmp_path, text=True) == f"{tmp_path}\n"
    assert sub.check_output("echo $THIS", shell=True, env={"THIS": "that"}) == b"that\n"
    assert sub.run(["false", "-c", "exit 9"], executable="/bin/sh").returncode == 9


def test_pass_fds(sub, pipe):
    r, w = pipe
    code = f"import os; os.write({w}, b'passed')"
    assert sub.run(python(code), pass_fds=[w]).returncode == 0
    assert os.read(r, 100) == b"passed"
    assert sub.run(python(code), stderr=DEVNULL).returncode == 1  # closed in the child


def test_start_new_session(sub):
    code = "import os; print(os.getsid(0) == os.getpid())"
    assert sub.check_output(python(code), start_new_session=True) == b"True\n"
    assert sub.check_output(python(code)) == b"False\n"


def test_process_group(sub):
    code = "import os; print(os.getpgid(0) == os.getpid())"
    assert sub.check_output(python(code), process_group=0) == b"True\n"


def test_umask(sub, tmp_path):
    sub.check_call(["touch", tmp_path / "file"], umask=0o027)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_user_and_group(sub):
    """As root, those of another user."""
    user, group = (12345, 23456) if os.getuid() == 0 else (os.getuid(), os.getgid())
    done = sub.run("id -u; id -g", shell=True, user=user, group=group, stdout=PIPE, text=True)
    assert done.stdout.split() == [str(user), str(group)]


def test_preexec_fn_runs_in_the_child(sub):
    mine = os.getpid()

    def prepare():
        os.environ["UNSEEN"] = "x"
        os.write(1, b"child\n" if os.getpid() != mine else b"parent\n")

    assert sub.check_output(["echo", "program"], preexec_fn=prepare) == b"child\nprogram\n"
    assert "UNSEEN" not in os.environ


def test_preexec_fn_that_fails(sub):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(std_subprocess.SubprocessError):
        sub.Popen(["true"], preexec_fn=fail)


@pytest.mark.parametrize(
    "options",
    [{"bufsize": "1"}, {"pipesize": "1"}, {"user": 1.5}, {"text": True, "universal_newlines": False}, {"no_such": 1}],
    ids=lambda options: next(iter(options)),
)
def test_bad_arguments_are_refused(sub, options):
    with pytest.raises((TypeError, std_subprocess.SubprocessError)):
        sub.Popen(["true"], **options)


# ---------------------------------------------------------------- the end of the child


def test_poll_and_wait(sub, settle):
    process = sub.Popen(["cat"], stdin=PIPE)
    assert process.poll() is None and process.returncode is None
    process.stdin.close()
    assert process.wait() == 0
    assert process.wait() == process.wait(timeout=0) == process.poll() == process.returncode == 0
    process = sub.Popen(["sh", "-c", "exit 7"])
    assert settle(lambda: process.poll() is not None)
    assert process.returncode == 7


def test_wait_with_a_timeout(sub):
    with sub.Popen(["cat"], stdin=PIPE) as process:
        for timeout in (0.02, 0, -1):
            with pytest.raises(std_subprocess.TimeoutExpired) as caught:
                process.wait(timeout=timeout)
            assert (caught.value.cmd, caught.value.timeout) == (["cat"], timeout)
        process.stdin.close()
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("send", "number"),
    [
        (lambda process: process.terminate(), signal.SIGTERM),
        (lambda process: process.kill(), signal.SIGKILL),
        (lambda process: process.send_signal(signal.SIGINT), signal.SIGINT),
    ],
    ids=["terminate", "kill", "send_signal"],
)
def test_signals_end_it(sub, send, number):
    process = sub.Popen(["sleep", "100"])
    send(process)
    assert process.wait() == -number
    send(process)  # it has ended: nothing happens


def test_the_context_manager_closes_and_waits(sub):
    with sub.Popen(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        pass
    assert process.returncode == 0
    assert process.stdin.closed and process.stdout.closed and process.stderr.closed


def test_all_who_wait_for_one_child_are_told(lib, sub):
    process = sub.Popen(["sh", "-c", "read x; exit 8"], stdin=PIPE)
    waiters = [lib.spawn(process.wait) for _ in range(5)] + [lib.spawn(process.wait, 30) for _ in range(5)]
    process.stdin.close()
    assert [waiter.get() for waiter in waiters] == [8] * 10


def test_a_child_whose_status_somebody_else_has_taken(sub):
    process = sub.Popen(["sh", "-c", "exit 8"])
    os.waitpid(process.pid, 0)
    assert process.wait() == 0  # like the original when it cannot know


def test_sigchld_ignored(sub):
    """Then the kernel takes the status (waitpid(2))."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert sub.run(["sh", "-c", "exit 3"], stdout=PIPE).returncode == 0
        assert sub.Popen(["sh", "-c", "exit 3"]).wait(timeout=20) == 0
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_handler_for_sigchld_is_called_and_stays(sub, settle):
    told = []

    def handler(number, frame):
        told.append(number)

    before = signal.signal(signal.SIGCHLD, handler)
    try:
        assert sub.call(["sh", "-c", "exit 3"]) == 3
        assert settle(lambda: told)
        assert signal.getsignal(signal.SIGCHLD) is handler
    finally:
        signal.signal(signal.SIGCHLD, before)


# ---------------------------------------------------------------- the twin alone: nothing lost, nothing stolen


def test_two_hundred_children_at_once(told_by):
    processes = [subprocess.Popen(["sh", "-c", f"read x; exit {n}"], stdin=PIPE) for n in range(200)]
    waiters = [gevlite.spawn(process.wait, timeout=50) for process in processes]
    gevlite.sleep(0)
    for process in processes:
        process.stdin.close()
    assert [waiter.get() for waiter in waiters] == list(range(200))
    assert not any(still_there(process.pid) for process in processes)


def test_many_that_end_before_anybody_waits(told_by):
    processes = [subprocess.Popen(["true"]) for _ in range(50)]
    assert [process.wait() for process in processes] == [0] * 50


def test_kill_while_waiting_leaves_the_status_for_the_next(told_by, start, hub):
    process = subprocess.Popen(["sh", "-c", "read x; exit 4"], stdin=PIPE)
    waiter = start(process.wait)
    gevlite.sleep(0)
    waiter.greenlet.kill()
    assert (hub.stats()["fd_waiters"], hub.stats()["refs"]) == (0, 0)
    process.stdin.close()
    assert process.wait(timeout=20) == 4


def test_gevlite_timeout_while_waiting(told_by):
    with subprocess.Popen(["sh", "-c", "read x; exit 4"], stdin=PIPE) as process:
        with pytest.raises(gevlite.Timeout):
            with gevlite.Timeout(0.01):
                process.wait()
        process.stdin.close()
        assert process.wait() == 4


def test_an_end_that_races_with_timeouts_is_never_missed(told_by):
    for n in range(20):
        process = subprocess.Popen(["sleep", "0.02"])
        while True:
            try:
                assert process.wait(timeout=0.001 * (n % 5)) == 0
                break
            except subprocess.TimeoutExpired:
                gevlite.sleep(0.0005 * (n % 3))


def test_the_children_of_others_are_left_alone(told_by):
    stranger = os.fork()
    if not stranger:
        os._exit(9)
    assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
    assert os.waitstatus_to_exitcode(os.waitpid(stranger, 0)[1]) == 9


def test_in_the_hub_of_another_thread(told_by):
    """Also where several threads wait for the same child."""
    process = subprocess.Popen(["sh", "-c", "read x; exit 5"], stdin=PIPE)
    codes = []

    def work():
        codes.append(subprocess.run(["sh", "-c", "exit 6"], capture_output=True).returncode)
        codes.append(process.wait())
        gevlite.get_hub().destroy()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiter = gevlite.spawn(process.wait)
    while codes.count(6) < 3:
        gevlite.sleep(0.001)
    process.stdin.close()
    assert waiter.get(timeout=20) == 5
    for thread in threads:
        thread.join()
    assert sorted(codes) == [5, 5, 5, 6, 6, 6]


def test_no_descriptor_left_for_a_pidfd(monkeypatch):
    def refuse(pid):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(_children, "_pidfd_open", refuse)
    assert subprocess.Popen(["sh", "-c", "exit 3"]).wait() == 3


def test_no_descriptor_and_no_thread_either(monkeypatch):
    def refuse(*args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_children, "_pidfd_open", None)
    monkeypatch.setattr(_children, "start_new_thread", refuse)
    process = subprocess.Popen(["sh", "-c", "read x; exit 3"], stdin=PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.01)
    process.stdin.close()
    assert process.wait() == 3
    assert not _children._watches


def test_waiting_again_and_again_starts_one_thread(monkeypatch):
    started = []
    start_new_thread = _children.start_new_thread
    monkeypatch.setattr(_children, "_pidfd_open", None)
    monkeypatch.setattr(_children, "start_new_thread", lambda *args: started.append(start_new_thread(*args)))
    with subprocess.Popen(["cat"], stdin=PIPE) as process:
        for _ in range(10):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.001)
        process.stdin.close()
        process.wait()
    assert len(started) == 1


def test_kill_while_communicating_loses_nothing(start):
    process = subprocess.Popen(["sh", "-c", "echo one; read x; echo two"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    talk = start(process.communicate, b"x" * 1_000_000)
    gevlite.sleep(0.05)
    talk.greenlet.kill()
    assert process.communicate(timeout=30) == (b"one\ntwo\n", b"")


def test_others_run_while_a_child_floods_us(start):
    turns = []

    def count():
        while True:
            gevlite.sleep(0)
            turns.append(1)

    start(count)
    done = subprocess.run(["head", "-c", "30000000", "/dev/zero"], capture_output=True)
    assert len(done.stdout) == 30_000_000 and len(turns) > 10


@pytest.mark.parametrize("nowait", [True, False])
def test_pipes_stay_in_blocking_mode(monkeypatch, nowait):
    """Even if the kernel has no RWF_NOWAIT for them: another program that gets one as its input expects this."""
    if not nowait:
        if not os.path.isdir("/proc/self/fd"):
            pytest.skip("no /proc")
        monkeypatch.setattr(_fileio, "HAVE_NOWAIT", False)
    with subprocess.Popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        process.stdin.write(b"line\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"line\n"
        assert os.get_blocking(process.stdin.fileno()) and os.get_blocking(process.stdout.fileno())


def test_reading_blocks_only_the_reader(start, hub):
    with subprocess.Popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        reader = start(process.stdout.readline)
        gevlite.idle()
        assert hub.stats()["parked"] == 1
        process.stdin.write(b"line\n")
        process.stdin.flush()
        assert reader.get() == b"line\n"


def test_kill_while_reading(start, hub):
    with subprocess.Popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        reader = start(process.stdout.readline)
        gevlite.sleep(0)
        reader.greenlet.kill()
        assert hub.stats()["fd_waiters"] == 0
        process.stdin.write(b"line\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"line\n"


def test_preexec_fn_may_use_greenlets():
    """It runs in the child of a fork, whose hub is fresh."""

    def prepare():
        assert gevlite.spawn(lambda: 5).get() == 5
        gevlite.sleep(0.001)

    others = [gevlite.spawn(gevlite.sleep, 0.05) for _ in range(3)]
    assert subprocess.run(["sh", "-c", "exit 2"], preexec_fn=prepare).returncode == 2
    gevlite.joinall(others)


def test_in_the_child_of_a_fork(run_script):
    run_script("""
        import os, gevlite
        from gevlite import _children, _fileio, subprocess
        running = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        for with_pidfd in (True, False):
            if not with_pidfd:
                _children._pidfd_open = None
            waiter = gevlite.spawn(running.wait)
            gevlite.sleep(0)
            pid = os.fork()
            if not pid:
                assert subprocess.run(["sh", "-c", "exit 3"], capture_output=True).returncode == 3
                assert running.wait() == 0          # not our child: what the original says, too
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            assert not waiter.dead
            waiter.kill()
        running.stdin.close()
        assert running.wait() == 0
    """)


def test_a_callback_in_the_hub_may_wait_for_a_child(hub, settle):
    process = subprocess.Popen(["cat"], stdin=PIPE)
    seen = []
    hub.call_soon(lambda: seen.append(process.wait()))
    gevlite.idle()
    assert not seen
    process.stdin.close()
    assert settle(lambda: seen) and seen == [0]


def test_interpreter_exit_with_a_child_that_is_still_waited_for(run_script):
    for switch in ("", "_children._pidfd_open = None"):
        result = run_script(f"""
            import gevlite
            from gevlite import _children, _fileio, subprocess
            {switch}
            process = subprocess.Popen(["sleep", "0.2"])
            gevlite.spawn(process.wait)
            gevlite.sleep(0.01)
            process.returncode = 0      # no ResourceWarning: that is all right here
            print("end")
        """)
        assert (result.stdout, result.stderr) == ("end\n", "")


# ---------------------------------------------------------------- waiting for several


def test_wait_for_several_processes_and_greenlets():
    slow = subprocess.Popen(["cat"], stdin=PIPE)
    fast = subprocess.Popen(["true"])
    event = Event()
    assert gevlite.wait([slow, fast, event], count=1, timeout=20) == [fast]
    assert fast.returncode == 0
    slow.stdin.close()
    event.set()
    assert set(gevlite.wait([slow, fast, event], timeout=20)) == {slow, fast, event}


def test_rawlink_is_told_once_and_unlink_takes_it_back(settle):
    told = []
    process = subprocess.Popen(["cat"], stdin=PIPE)
    unwanted = told.clear
    process.rawlink(told.append)
    process.rawlink(unwanted)
    process.unlink(unwanted)
    process.unlink(unwanted)
    with pytest.raises(TypeError):
        process.rawlink(None)
    process.stdin.close()
    assert settle(lambda: told)
    gevlite.idle()
    assert told == [process] and process.returncode == 0
    process.rawlink(told.append)  # also when it has ended
    assert settle(lambda: len(told) == 2)


# ---------------------------------------------------------------- the original


def test_names_and_signatures_are_the_originals(monkeypatch):
    for name in std_subprocess.__all__:
        ours, original = getattr(subprocess, name), getattr(std_subprocess, name)
        if name not in subprocess.__implements__:
            assert ours is original, name
        else:
            assert inspect.signature(ours) == inspect.signature(original), name
    assert issubclass(subprocess.Popen, std_subprocess.Popen)
    assert subprocess.list2cmdline is std_subprocess.list2cmdline
    monkeypatch.setattr(std_subprocess, "_a_switch", True, raising=False)
    assert subprocess._a_switch
    with pytest.raises(AttributeError):
        subprocess.no_such_name  # noqa: B018


def test_the_private_methods_we_replace_are_there_and_are_called_as_we_expect(monkeypatch):
    """The parts of the original class on which gevlite.subprocess relies exist in this version of Python."""
    original = std_subprocess.Popen
    assert list(inspect.signature(original._wait).parameters) == ["self", "timeout"]
    assert list(inspect.signature(original._communicate).parameters) == ["self", "input", "endtime", "orig_timeout"]
    assert list(inspect.signature(original._translate_newlines).parameters) == ["self", "data", "encoding", "errors"]
    assert list(inspect.signature(original._try_wait).parameters) == ["self", "wait_flags"]
    inspect.signature(original._handle_exitstatus).bind(None, 0)

    calls = []

    class Watched(original):
        def _execute_child(self, *args):
            calls.append(("execute", type(self.stdin), type(self.stdout), type(self.stderr)))
            super()._execute_child(*args)

        def _wait(self, timeout):
            calls.append(("wait", timeout))
            return super()._wait(timeout)

        def _communicate(self, input, endtime, orig_timeout):
            calls.append(("communicate", input))
            return super()._communicate(input, endtime, orig_timeout)

    # The pipes' files exist when the program is started; `wait` and `communicate` go through what we replace.
    with Watched(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.communicate("x") == ("x", "")
        assert process._waitpid_lock.acquire(False) and not process._waitpid_lock.release()
    assert calls[0] == ("execute", io.TextIOWrapper, io.TextIOWrapper, io.TextIOWrapper)
    assert ("communicate", "x") in calls and ("wait", None) in calls
    calls.clear()
    with Watched(["cat"], stdin=PIPE, stdout=PIPE) as process:
        process.stdin.close()
    with Watched(["cat"], stdin=PIPE, stdout=PIPE, bufsize=0) as process:
        process.stdin.close()
    kinds = [call[1:3] for call in calls if call[0] == "execute"]
    assert kinds == [(io.BufferedWriter, io.BufferedReader), (io.FileIO, io.FileIO)]
