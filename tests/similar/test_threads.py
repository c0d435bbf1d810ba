"""Embedders and stores that hang or panic cost a few threads and one vector, and nobody's loop or process."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref

import anyio
import pytest

from resilient_ai import NO_ANSWER
from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import SimilarAnswers
from resilient_ai.similar._threads import Overloaded, Panic, Threads
from resilient_ai.similar._writer import Writer
from tests.similar.test_stores import Plain


class PanicException(BaseException):
    """Derives from BaseException, as pyo3's does."""


def call(text):
    return FailedCall("bot.ask", (), {}, {"text": text})


async def recalled(memory, text):
    found = memory.recall(call(text))
    found = await found if hasattr(found, "__await__") else found
    return None if found is NO_ANSWER else found.answer


def threads_of(owner):
    return [thread for thread in ours() if getattr(thread, "_target", None) == owner._run]


_before: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def threads_of_other_tests():
    """They take a while to end, and are not counted in this one."""
    _before.clear()
    _before.update(threading.enumerate())


def ours():
    threads = set(threading.enumerate()) - _before
    return [thread for thread in threads if thread.name.startswith("resilient_ai.similar")]


# -- the threads themselves


async def test_work_runs_in_a_thread_and_its_result_comes_back():
    threads = Threads(most=2, waiting=4)

    assert await threads.run(lambda: threading.current_thread().daemon)
    threads.close(5)
    assert not ours()


async def test_what_work_raises_comes_back_and_a_panic_as_an_exception():
    threads = Threads(most=1, waiting=4)

    def fail(error):
        raise error

    with pytest.raises(ValueError, match="no"):
        await threads.run(fail, ValueError("no"))
    with pytest.raises(Panic):
        await threads.run(fail, PanicException())
    assert await threads.run(lambda: "still here") == "still here"
    threads.close(5)


async def test_there_are_never_more_threads_than_allowed_and_too_much_work_is_refused():
    threads, gate = Threads(most=2, waiting=3), threading.Event()
    begun = threading.Semaphore(0)

    def work():
        begun.release()
        return gate.wait()

    futures = [threads.submit(work) for _ in range(3)]
    for _ in range(2):
        begun.acquire(timeout=5)
    futures += [threads.submit(work) for _ in range(2)]
    with pytest.raises(Overloaded):
        threads.submit(work)

    assert len(threads_of(threads)) == 2
    gate.set()
    assert all(future.result(5) for future in futures)
    threads.close(5)


async def test_a_cancelled_caller_leaves_at_once_and_takes_its_work_out_of_the_queue():
    threads, gate, begun, ran = Threads(most=1, waiting=1), threading.Event(), threading.Event(), []

    def work():
        begun.set()
        return gate.wait()

    holding = threads.submit(work)
    assert begun.wait(5)
    with anyio.move_on_after(0):
        await threads.run(ran.append, 1)
    with anyio.move_on_after(0):
        await threads.run(ran.append, 2)  # there is room again
    gate.set()
    holding.result(5)
    assert await threads.run(lambda: "next") == "next"

    assert ran == []
    threads.close(5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    threads, gate = Threads(most=1, waiting=4), threading.Event()
    holding = threads.submit(gate.wait)
    child = os.fork()
    if child == 0:
        os._exit(0 if threads.submit(lambda: 7).result(5) == 7 else 1)
    gate.set()

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert holding.result(5)
    threads.close(5)


# -- embedders


async def test_an_embedder_that_hangs_costs_four_threads_and_the_trigrams_answer():
    gate = threading.Event()
    gate.set()

    def embed(texts):
        gate.wait()
        return [[1.0, 0.0] for _ in texts]

    with SimilarAnswers(embedder=embed, threshold=0.9) as memory:
        memory.remember(call("How can I reset my password?"), "Open Settings.")
        memory.flush()
        gate.clear()
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(recalled, memory, f"question {number} about boats")
        for number in range(200):  # none of them waits for the embedder any more
            await recalled(memory, f"question {number} about ships")

        assert len([thread for thread in ours() if thread.name.endswith("work")]) <= 8  # half of them look things up
        assert memory.stats().embedder_errors >= 200
        gate.set()


@pytest.mark.parametrize("error", [PanicException, KeyboardInterrupt, SystemExit, MemoryError])
async def test_an_embedder_that_panics_once_costs_one_vector(error):
    asked = []

    def embed(texts):
        asked.extend(texts)
        if len(asked) == 1:
            raise error
        return [[1.0, float(len(text))] for text in texts]

    with SimilarAnswers(embedder=embed, threshold=0.9) as memory:
        for word in ("one", "two", "three"):
            memory.remember(call(f"what is the price of ticket number {word}"), word)
            memory.flush()

        assert memory.stats().remembered == 3
        assert memory.stats().embedder_errors == 1
        for word in ("one", "two", "three"):
            assert await recalled(memory, f"what is the price of ticket number {word}?") == word


async def test_an_async_embedder_that_panics_costs_one_vector_and_cancellation_passes():
    async def embed(texts):
        raise PanicException

    with SimilarAnswers(embedder=embed, threshold=0.9) as memory:
        memory.remember(call("How can I reset my password?"), "Open Settings.")
        for _ in range(10):
            await anyio.lowlevel.checkpoint()

        assert await recalled(memory, "how can i reset the password") == "Open Settings."

    async def never(texts):
        await anyio.sleep_forever()

    with SimilarAnswers(embedder=never, threshold=0.9) as memory:
        with anyio.move_on_after(0) as scope:
            await recalled(memory, "how can i reset the password")

        assert scope.cancelled_caught


# -- stores and the writer


async def test_a_store_that_panics_or_hangs_ends_neither_writing_nor_asking():
    class Panicking(Plain):
        def put(self, entries):
            if len(self.entries) == 1 and not self.down:
                self.down = True
                raise PanicException
            self.down = False
            super().put(entries)

    with SimilarAnswers(store=Panicking(), embedder="trigrams") as memory:
        for word in ("one", "two", "three"):
            memory.remember(call(f"what is the price of ticket number {word}"), word)
            memory.flush()

        assert memory.stats().not_remembered == {"error": 1}
        assert await recalled(memory, "what is the price of ticket number three") == "three"


async def test_a_store_that_hangs_costs_four_threads():
    gate = threading.Event()

    class Hanging(Plain):
        def exact(self, partition, key):
            gate.wait()
            return super().exact(partition, key)

    with SimilarAnswers(store=Hanging(), embedder="trigrams") as memory:
        for number in range(20):
            with anyio.move_on_after(0.01):
                await recalled(memory, f"question {number} about boats")

        assert len(ours()) <= 4
        gate.set()


def test_what_the_work_of_a_writer_raises_is_counted_and_ends_nothing():
    done = []

    def work(batch):
        if batch == [1]:
            raise PanicException
        done.extend(batch)

    writer = Writer(work)
    for number in (1, 2, 3):
        writer.offer(number)
        assert writer.flush(5)

    assert done == [2, 3]
    assert writer.failed == 1
    assert writer.close(5)


def test_a_memory_that_is_collected_keeps_nobody_waiting_and_closes_its_store():
    gate, closed = threading.Event(), threading.Event()

    class Slow(Plain):
        def put(self, entries):
            gate.wait()
            super().put(entries)

        def close(self):
            closed.set()

    memory = SimilarAnswers(store=Slow(), embedder="trigrams")
    memory.remember(call("Who may open the gate?"), "You.")
    gone = weakref.ref(memory)
    del memory
    gc.collect()

    assert gone() is None
    assert not closed.is_set()  # its last answer is being written
    gate.set()
    assert closed.wait(5)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
@pytest.mark.parametrize("path", ["", "answers.db"])
def test_a_signal_handler_may_read_the_numbers_whatever_its_thread_is_doing(tmp_path, path):
    code = """
        import faulthandler, os, signal, sys
        import anyio
        from resilient_ai import Registry, degrade_to
        from resilient_ai.similar import SimilarAnswers

        faulthandler.dump_traceback_later(50, exit=True)
        registry = Registry(listeners=())
        memory = SimilarAnswers(sys.argv[1] or None, embedder="trigrams")
        heard = []

        @degrade_to(memory, "static", registry=registry)
        async def ask(prompt, down):
            if down:
                raise ConnectionError("down")
            return "answer"

        def handler(*_):
            registry.as_dict(), repr(memory), heard.append(memory.stats())

        async def main():
            for number in range(100):
                await ask(f"what is the price of ticket {number}", False)
                await ask(f"what is the price of the ticket {number}", True)
                if number % 50 == 0:
                    memory.forget()

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        anyio.run(main)
        signal.setitimer(signal.ITIMER_REAL, 0)
        memory.close()
        print("went well" if heard else "no signal came")
    """
    where = str(tmp_path / path) if path else ""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), where], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.strip() == "went well", done.stderr


def test_an_embedder_that_hangs_does_not_keep_the_process_alive():
    code = """
        import threading, anyio
        from resilient_ai import Registry, degrade_to
        from resilient_ai.similar import SimilarAnswers

        memory = SimilarAnswers(embedder=lambda texts: threading.Event().wait())

        @degrade_to(memory, "static", registry=Registry(listeners=()))
        async def ask(prompt):
            raise ConnectionError("down")

        print(anyio.run(ask, "what is the price of a ticket"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "static"


def test_work_that_has_begun_comes_to_its_end_before_the_process_does():
    """A thread that Python stops while it loads a model, in C++, would take the process down with SIGABRT."""
    code = """
        import threading, time
        from resilient_ai.similar._threads import Threads

        begun, threads = threading.Event(), Threads(most=1, waiting=1)

        def load():
            begun.set()
            time.sleep(0.3)
            print("loaded", flush=True)

        threads.submit(load)
        begun.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "loaded"
