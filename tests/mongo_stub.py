"""Enough of a MongoDB server for pymongo: `mongo_stub.py PORT`, a process of its own. Needs pymongo's `bson`.

It speaks the wire protocol (OP_MSG, and OP_QUERY for the first message of a connection), streams `hello` to monitors
that ask for it, and keeps documents in memory. `find` compares values for equality.
It also has `sleep` with `millis`, as a real server has it if it is started for tests.
"""

import asyncio
import itertools
import struct
import sys
from collections import defaultdict

import bson

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
MORE_TO_COME, EXHAUST_ALLOWED = 1 << 1, 1 << 16

HELLO = {
    "helloOk": True,
    "ismaster": True,
    "isWritablePrimary": True,
    "maxBsonObjectSize": 16 * 1024 * 1024,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "logicalSessionTimeoutMinutes": 30,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "readOnly": False,
    "topologyVersion": {"processId": bson.ObjectId(), "counter": bson.Int64(0)},
}


class Failure(Exception):
    """A command that fails: its code and message."""


class Server:
    def __init__(self):
        self.collections = defaultdict(list)  # "database.collection" -> documents
        self.cursors = {}  # id -> (its collection, the documents that are left)
        self.ids = itertools.count(1)

    async def serve(self, reader, writer):
        try:
            while True:
                length, request, _, opcode = struct.unpack("<iiii", await reader.readexactly(16))
                data = await reader.readexactly(length - 16)
                if opcode == OP_QUERY:
                    name_end = data.index(0, 4)
                    document = bson.decode(data[name_end + 9 :])
                    body = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(await self.answer(document))
                    self.send(writer, OP_REPLY, request, body)
                else:
                    flags, document = self.parse(data)
                    await self.reply(writer, request, flags, document)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @staticmethod
    def parse(data):
        """The flags and the document of an OP_MSG, with its sequences of documents in their places."""
        (flags,) = struct.unpack_from("<I", data)
        document, sequences, at = {}, {}, 4
        while at < len(data):
            kind, (size,) = data[at], struct.unpack_from("<i", data, at + 1)
            section = data[at + 1 : at + 1 + size]
            if kind == 0:
                document = bson.decode(section)
            else:
                name_end = section.index(0, 4)
                sequences[section[4:name_end].decode()] = bson.decode_all(section[name_end + 1 :])
            at += 1 + size
        return flags, document | sequences

    async def reply(self, writer, request, flags, document):
        streamed = flags & EXHAUST_ALLOWED and "topologyVersion" in document
        while True:
            if "maxAwaitTimeMS" in document:
                await writer.drain()
                await asyncio.sleep(document["maxAwaitTimeMS"] / 1000)  # nothing changes here
            answer = await self.answer(document)
            if flags & MORE_TO_COME:
                return  # an unacknowledged write
            body = struct.pack("<IB", MORE_TO_COME if streamed else 0, 0) + bson.encode(answer)
            request = self.send(writer, OP_MSG, request, body)
            if not streamed:
                return

    def send(self, writer, opcode, response_to, body):
        number = next(self.ids)
        writer.write(struct.pack("<iiii", 16 + len(body), number, response_to, opcode) + body)
        return number

    async def answer(self, document):
        name = next(iter(document))
        command = getattr(self, f"on_{name.lower()}", None)
        try:
            if command is None:
                raise Failure(59, f"no such command: '{name}'")
            return {**(await command(document) or {}), "ok": 1.0}
        except Failure as failure:
            code, message = failure.args
            return {"ok": 0.0, "code": code, "errmsg": message}

    # ---------------------------------------------------------------- commands

    async def on_hello(self, document):
        return HELLO

    on_ismaster = on_hello

    async def on_ping(self, document):
        pass

    on_endsessions = on_ping

    async def on_sleep(self, document):
        await asyncio.sleep(document["millis"] / 1000)

    async def on_insert(self, document):
        found = self.collections[f"{document['$db']}.{document['insert']}"]
        found.extend(document["documents"])
        return {"n": len(document["documents"])}

    async def on_find(self, document):
        name = f"{document['$db']}.{document['find']}"
        wanted = document.get("filter", {}).items()
        found = [one for one in self.collections[name] if all(one.get(key) == value for key, value in wanted)]
        limit = document.get("limit", 0)
        return self.batch(name, found[:limit] if limit else found, "firstBatch", document.get("batchSize", 101))

    async def on_getmore(self, document):
        if document["getMore"] not in self.cursors:
            raise Failure(43, f"cursor id {document['getMore']} not found")
        name, left = self.cursors.pop(document["getMore"])
        return self.batch(name, left, "nextBatch", document.get("batchSize", 101))

    async def on_killcursors(self, document):
        for cursor in document["cursors"]:
            self.cursors.pop(cursor, None)

    def batch(self, name, documents, key, size):
        cursor = 0
        if documents[size:]:
            cursor = next(self.ids)
            self.cursors[cursor] = name, documents[size:]
        return {"cursor": {"id": bson.Int64(cursor), "ns": name, key: documents[:size]}}


async def main(port):
    server = await asyncio.start_server(Server().serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
