"""Database drivers of asyncio, and SQLAlchemy on top of them, with the event loop of gevlite."""

import pytest

pytestmark = pytest.mark.timeout(240)

REDIS = """
import itertools
import redis.asyncio as redis

COUNT = 40
numbers = itertools.count()

@contextlib.asynccontextmanager
async def resource():
    name = f"r{next(numbers)}"
    # By default a reply that takes longer than 5 seconds is an error, and on a busy machine those of BLPOP do.
    client = redis.Redis(port=int(sys.argv[2]), decode_responses=True, max_connections=COUNT + 5,
                         socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
    client.name = name

    async def push():
        # When all of them wait in the server, each gets its own.
        while sum(f"{name}-" in one["name"] and one["cmd"] == "blpop" for one in await client.client_list()) < COUNT:
            await asyncio.sleep(0.005)
        async with client.pipeline(transaction=False) as pipe:
            for number in range(COUNT):
                pipe.rpush(f"{name}-{number}", number)
            await pipe.execute()

    task = asyncio.create_task(push())
    yield client
    await task
    await client.aclose()

async def ask(client, number):
    async with client.client() as connection:
        name = f"{client.name}-{number}"
        await connection.client_setname(name)
        assert await connection.blpop([name], timeout=PATIENCE) == (name, str(number))
    async with client.pipeline() as pipe:
        for i in range(20):
            pipe.set(f"{name}-{i}", i)
            pipe.get(f"{name}-{i}")
        assert await pipe.execute() == [x for i in range(20) for x in (True, str(i))]

async def more(client):
    async with client.pubsub(ignore_subscribe_messages=True) as sub:
        await sub.subscribe("news")
        await sub.get_message(timeout=PATIENCE)
        for i in range(50):
            await client.publish("news", i)
        got = []
        while len(got) < 50:
            if message := await sub.get_message(timeout=PATIENCE):
                got.append(int(message["data"]))
        assert got == list(range(50))
    # A wait that is cancelled takes its connection out of use, and with it its answer. Not before it waits: on Python
    # 3.11, `asyncio.wait_for`, in which the client sends, may swallow a cancellation.
    seen = set()
    for _ in range(5):
        task = asyncio.create_task(client.blpop(["never"], timeout=PATIENCE))
        while not (waiting := {one["id"] for one in await client.client_list() if one["cmd"] == "blpop"} - seen):
            await asyncio.sleep(0.001)
        seen |= waiting
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    await client.set("x", "y")
    assert await client.get("x") == "y"

in_each_way(resource, ask, COUNT, more)
"""


def test_redis(run_asynchronous, redis_server):
    run_asynchronous(REDIS, redis_server.port)


ASYNCPG = """
import itertools
import asyncpg

COUNT = 10
numbers = itertools.count(1)

@contextlib.asynccontextmanager
async def resource():
    key = next(numbers)
    where = dict(host="127.0.0.1", port=int(sys.argv[2]), user="tester", database="postgres")
    holder = await asyncpg.connect(**where)
    await holder.execute("select pg_advisory_lock($1)", key)

    async def let_go():
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and objid = $1 and not granted"
        while await holder.fetchval(waiting, key) < COUNT:
            await asyncio.sleep(0.005)
        await holder.execute("select pg_advisory_unlock($1)", key)

    task = asyncio.create_task(let_go())
    async with asyncpg.create_pool(min_size=1, max_size=COUNT, **where) as pool:
        yield key, pool
    await task
    await holder.close()

async def ask(used, number):
    key, pool = used
    async with pool.acquire() as connection:
        # All of them wait in the server at once.
        await connection.execute("select pg_advisory_lock_shared($1)", key)
        assert await connection.fetchval("select $1::int + 1", number) == number + 1
        async with connection.transaction():
            rows = [row[0] async for row in connection.cursor("select generate_series(1, $1::int)", 100 + number)]
        assert rows == list(range(1, 101 + number))
        await connection.execute("select pg_advisory_unlock_shared($1)", key)

async def more(used):
    key, pool = used
    async with pool.acquire() as connection:
        heard = asyncio.Queue()
        await connection.add_listener("news", lambda *args: heard.put_nowait(args[-1]))
        await pool.execute("notify news, 'hello'")
        assert await asyncio.wait_for(heard.get(), PATIENCE) == "hello"
        await connection.execute("create temporary table t (n int)")
        assert await connection.copy_records_to_table("t", records=[(n,) for n in range(1000)]) == "COPY 1000"
        try:
            async with connection.transaction():
                await connection.execute("delete from t")
                raise KeyError
        except KeyError:
            pass
        assert await connection.fetchval("select sum(n) from t") == 499500
        # A query that is cancelled is cancelled in the server, and its connection can be used again.
        for _ in range(3):
            try:
                await connection.fetchval("select pg_sleep(30)", timeout=0.02)
            except TimeoutError:
                pass
            assert await connection.fetchval("select 5") == 5

in_each_way(resource, ask, COUNT, more)
"""


def test_asyncpg(run_asynchronous, postgres):
    run_asynchronous(ASYNCPG, postgres.port)


SQLALCHEMY = """
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.util import await_only

COUNT = 20
POOL = 8

class Base(DeclarativeBase):
    pass

class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    books: Mapped[list["Book"]] = relationship()

class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    author: Mapped[int] = mapped_column(sa.ForeignKey("authors.id"))
    title: Mapped[str]

class Used:
    now = most = 0

    def __init__(self):
        self.engine = create_async_engine(sys.argv[2], pool_size=POOL - 2, max_overflow=2, pool_timeout=PATIENCE)

@contextlib.asynccontextmanager
async def resource():
    used = Used()
    yield used
    assert 1 < used.most <= POOL, used.most
    assert used.engine.pool.checkedout() == 0
    await used.engine.dispose()

def blocks(session, number):
    '''Not async: it may use the database, and wait for anything else that a greenlet can wait for.'''
    loop = asyncio.get_running_loop()
    gevlite.sleep(0.001)
    assert asyncio.get_running_loop() is loop
    author = session.get(Author, number)
    titles = [book.title for book in author.books]      # another query, where no one says await
    gevlite.sleep(0)
    assert asyncio.get_running_loop() is loop
    return titles

async def ask(used, number):
    engine = used.engine
    async with engine.connect() as connection:
        used.now += 1
        used.most = max(used.most, used.now)
        try:
            query = sa.select(sa.literal(number) + 1)
            assert await connection.scalar(query) == number + 1
            await asyncio.sleep(0.001)
        finally:
            used.now -= 1
    async with AsyncSession(engine) as session:
        assert await session.run_sync(blocks, number) == [f"{number}.{i}" for i in range(3)]
    async with AsyncSession(engine) as session:
        result = await session.stream(sa.select(Book).order_by(Book.id))
        assert len([book async for book in result.scalars()]) == COUNT * 3

async def more(used):
    engine = used.engine
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([Author(id=n, books=[Book(title=f"{n}.{i}") for i in range(3)]) for n in range(COUNT)])
    # A task that is cancelled in the middle rolls back.
    async def stopped(there):
        async with AsyncSession(engine) as session, session.begin():
            session.add(Author(id=1000))
            await session.flush()
            there.append(1)
            await session.run_sync(lambda _: await_only(asyncio.sleep(600)))
    for _ in range(5):
        there = []
        task = asyncio.create_task(stopped(there))
        while not there:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    async with AsyncSession(engine) as session:
        assert await session.get(Author, 1000) is None
    # And so does one that is killed while it blocks.
    for kind in (KeyError, gevlite.GreenletExit):
        state = []

        def blocks(session):
            try:
                state.append(1)
                gevlite.sleep(60)
            finally:
                assert asyncio.get_running_loop() in state
                session.rollback()      # waits for the database

        async def interrupted():
            other = Used().engine
            state.append(asyncio.get_running_loop())
            async with AsyncSession(other) as session:
                session.add(Author(id=1000))
                await session.flush()
                try:
                    await session.run_sync(blocks)
                finally:
                    await session.close()
                    state.append(other.pool.checkedout())
                    await other.dispose()

        greenlet = gevlite.spawn(gevlite.asyncio.run, interrupted())
        while 1 not in state:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        greenlet.kill(kind, block=False)
        while not greenlet.ready():
            await asyncio.sleep(0.001)
        assert state[2:] == [0], state
    async with AsyncSession(engine) as session:
        assert await session.get(Author, 1000) is None

in_each_way(resource, ask, COUNT, more, at_once=2)
"""


def test_sqlalchemy_with_asyncpg(run_asynchronous, postgres):
    run_asynchronous(SQLALCHEMY, f"postgresql+asyncpg://tester@127.0.0.1:{postgres.port}/postgres")


AIOSQLITE = """
import aiosqlite

COUNT = 8

@contextlib.asynccontextmanager
async def resource():
    async with aiosqlite.connect(sys.argv[2], timeout=PATIENCE, isolation_level=None) as first:
        await first.execute("create table if not exists t (n int)")
    yield sys.argv[2]

async def ask(where, number):
    async with aiosqlite.connect(where, timeout=PATIENCE, isolation_level=None) as connection:
        # The others wait in C meanwhile, and must not hold up the one that they wait for.
        await connection.execute("begin immediate")
        (before,) = await (await connection.execute("select count(*) from t")).fetchone()
        await asyncio.sleep(0.01)
        await connection.execute("insert into t values (?)", (number,))
        (now,) = await (await connection.execute("select count(*) from t")).fetchone()
        assert now == before + 1
        await connection.execute("commit")

in_each_way(resource, ask, COUNT)
"""


def test_aiosqlite(run_asynchronous, tmp_path):
    run_asynchronous(AIOSQLITE, tmp_path / "base")


def test_sqlalchemy_with_aiosqlite(run_asynchronous, tmp_path):
    run_asynchronous(SQLALCHEMY, f"sqlite+aiosqlite:///{tmp_path}/base")
