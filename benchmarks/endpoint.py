"""DynamoDB and SNS for benchmarks, in memory, and a relay to PostgreSQL, each with a delay on the wire.

With a full emulator, we would measure the emulator. This endpoint knows only the requests of the service and of the
baseline, and fails on others. `python -m benchmarks.endpoint DELAYS DATABASE_PORT` prints its two ports.
"""

import asyncio
import bisect
import itertools
import json
import operator
import re
import sys
import zlib
from typing import Any, cast
from urllib.parse import parse_qsl

Item = dict[str, Any]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET = re.compile(rb"\r\nx-amz-target: *[^\r]*?(\w+)\r", re.IGNORECASE)
_INSERT = re.compile(r'INSERT INTO "([^"]+)" VALUE \{(.*)\}')
_NAME = re.compile(r"'([^']+)': \?")
_ASSIGNMENT = re.compile(r"(#\w+) ?= ?(:\w+)")
_PAGE_BYTES = 1024 * 1024  # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Scan.html
_ENTRY_ID = re.compile(rb"Entries\.member\.\d+\.Id=([^&]*)")


class Backends:
    """The tables, by name and key, and the bodies of the requests to publish."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[str, ...], Item]] = {}
        self.published: list[bytes] = []
        self._segments: dict[tuple[str, int], list[list[tuple[tuple[str, ...], Item]]]] = {}

    def answer(self, operation: str, body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the answer to a request."""
        if not operation:
            return 200, self._publish(body)
        request = json.loads(body or b"{}")
        status, answer = getattr(self, f"_{operation.lower()}")(request)
        return status, json.dumps(answer).encode()

    def _batchexecutestatement(self, request: Any) -> tuple[int, Any]:
        return 200, {"Responses": [self._insert(statement) for statement in request["Statements"]]}

    def _insert(self, statement: Any) -> Any:
        match = _INSERT.fullmatch(statement["Statement"])
        assert match is not None, statement["Statement"]
        item = dict(zip(_NAME.findall(match[2]), statement["Parameters"], strict=True))
        if _key(item) in self._table(match[1]):
            return {"Error": {"Code": "DuplicateItem", "Message": "exists"}}
        self._table(match[1])[_key(item)] = item
        return {"TableName": match[1]}

    def _batchgetitem(self, request: Any) -> tuple[int, Any]:
        ((table, wanted),) = request["RequestItems"].items()
        found = (self._table(table).get(_key(key)) for key in wanted["Keys"])
        return 200, {"Responses": {table: [item for item in found if item]}, "UnprocessedKeys": {}}

    def _putitem(self, request: Any) -> tuple[int, Any]:
        table, item = self._table(request["TableName"]), request["Item"]
        if request["ConditionExpression"] and _key(item) in table:  # every condition asks for a free key
            error = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
            return 400, {"__type": error, "message": "The conditional request failed", "Item": table[_key(item)]}
        table[_key(item)] = item
        return 200, {}

    def _updateitem(self, request: Any) -> tuple[int, Any]:
        item = self._table(request["TableName"])[_key(request["Key"])]
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        item |= {names[name]: values[value] for name, value in _ASSIGNMENT.findall(request["UpdateExpression"])}
        return 200, {}

    def _describetable(self, request: Any) -> tuple[int, Any]:
        return 200, {"Table": {"ItemCount": len(self._table(request["TableName"]))}}

    def _scan(self, request: Any) -> tuple[int, Any]:
        """Read at most 1 MB of a segment, and answer with the items that pass the filter."""
        name, number, total = request["TableName"], request["Segment"], request["TotalSegments"]
        if (name, total) not in self._segments:  # nothing is written while the benchmark scans
            segments: Any = [[] for _ in range(total)]
            for key, item in sorted(self._table(name).items()):
                segments[zlib.crc32(key[0].encode()) % total].append((key, item))
            self._segments[name, total] = segments
        segment = self._segments[name, total][number]
        start = request.get("ExclusiveStartKey")
        first = bisect.bisect_right(segment, _key(start), key=operator.itemgetter(0)) if start else 0
        wanted = {value["S"] for value in request["ExpressionAttributeValues"].values()}
        attributes = request["ExpressionAttributeNames"].values()
        found: list[Item] = []
        size = scanned = 0
        for _, item in itertools.islice(segment, first, None):
            size += sum(len(attribute) + len(next(iter(value.values()))) for attribute, value in item.items())
            scanned += 1
            if item["eventType"]["S"] in wanted:
                found.append({attribute: item[attribute] for attribute in attributes if attribute in item})
            if size > _PAGE_BYTES:
                break
        answer: dict[str, Any] = {"Items": found, "Count": len(found), "ScannedCount": scanned}
        if first + scanned < len(segment):
            answer["LastEvaluatedKey"] = {name: segment[first + scanned - 1][1][name] for name in ("pk", "sk")}
        return 200, answer

    def _publish(self, body: bytes) -> bytes:
        self.published.append(body)
        if b"Action=PublishBatch" not in body:
            return _xml("Publish", "<MessageId>1</MessageId>")
        ids = _ENTRY_ID.findall(body)
        members = b"".join(b"<member><Id>%b</Id><MessageId>1</MessageId></member>" % id_ for id_ in ids).decode()
        return _xml("PublishBatch", f"<Successful>{members}</Successful><Failed/>")

    def _dump(self, _: Any) -> tuple[int, Any]:
        """Answer with everything, and start afresh."""
        messages = [
            value
            for body in self.published
            for name, value in parse_qsl(body.decode())
            if name == "Message" or name.endswith(".Message")
        ]
        dump = {"tables": {name: [*table.values()] for name, table in self.tables.items()}, "messages": messages}
        self.__init__()  # type: ignore[misc]  # empty again
        return 200, dump

    def _table(self, name: str) -> dict[tuple[str, ...], Item]:
        return self.tables.setdefault(name, {})


def _key(item: Item) -> tuple[str, ...]:
    return (item["pk"]["S"], item["sk"]["S"]) if "pk" in item else (item["id"]["S"],)


def _xml(operation: str, result: str) -> bytes:
    text = f"<{operation}Response><{operation}Result>{result}</{operation}Result></{operation}Response>"
    return text.encode()


class Connection(asyncio.Protocol):
    """One connection; its requests come one after the other."""

    transport: asyncio.Transport

    def __init__(self, backends: Backends, delays: dict[str, float]) -> None:
        self._backends = backends
        self._delays = delays
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer once a request is complete."""
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not end or len(body) < int(length[1] if length else 0):
            return
        self._data = b""
        target = _TARGET.search(head + b"\r\n")
        operation = target[1].decode() if target else ""
        status, answer = self._backends.answer(operation, body)
        answer = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(answer), answer)
        delay = 0.0 if operation == "Dump" else self._delays["dynamodb" if operation else "sns"]
        asyncio.get_running_loop().call_later(delay, self.transport.write, answer)


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass bytes on after a delay, until the connection ends."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(65536):
        if seconds:
            loop.call_later(seconds, writer.write, data)
        else:
            writer.write(data)
    writer.close()


async def serve(delays: dict[str, float], database_port: int) -> None:
    """Serve until the process is ended; print the ports, of AWS and of PostgreSQL."""
    backends = Backends()
    aws = await asyncio.get_running_loop().create_server(lambda: Connection(backends, delays), "127.0.0.1", 0)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        database_reader, database_writer = await asyncio.open_connection("127.0.0.1", database_port)
        await asyncio.gather(
            relay(reader, database_writer, delays["postgresql"]),
            relay(database_reader, writer, 0),
            return_exceptions=True,
        )

    postgresql = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(*(server.sockets[0].getsockname()[1] for server in (aws, postgresql)), flush=True)
    await asyncio.gather(aws.serve_forever(), postgresql.serve_forever())


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1]), int(sys.argv[2])))
