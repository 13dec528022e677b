"""One aioice agent on 127.0.0.3: says what it is as a line of JSON, reads what we are as another, connects, and sends what
comes back to it. Arguments: 1 if it controls, else 0; 1 if the peer is lite, else 0."""

import asyncio
import json
import sys

import aioice
import aioice.ice
from aioice import Candidate, Connection

# It passes over loopback addresses, which is all that there is here; and asks for consent more often than usual.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.3"]
aioice.ice.CONSENT_INTERVAL = 1


async def main() -> None:
    connection = Connection(ice_controlling=sys.argv[1] == "1", components=1, use_ipv6=False)
    connection.remote_is_lite = sys.argv[2] == "1"
    await connection.gather_candidates()
    candidates = [candidate.to_sdp() for candidate in connection.local_candidates]
    say(ufrag=connection.local_username, password=connection.local_password, candidates=candidates)
    peer = json.loads(await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline))
    for line in peer["candidates"]:
        await connection.add_remote_candidate(Candidate.from_sdp(line))
    await connection.add_remote_candidate(None)
    connection.remote_username = peer["ufrag"]
    connection.remote_password = peer["password"]
    await asyncio.wait_for(connection.connect(), 20)
    echoed = 0
    for number in range(60):
        data = b"\x80 number %d" % number
        await connection.send(data)
        try:
            echoed += await asyncio.wait_for(connection.recv(), 1) == data
        except TimeoutError:
            # It nominates with its first check, and sends before the other side has had its own check answered.
            if number > 1:
                raise
        await asyncio.sleep(0.1)
    say(echoed=echoed, controlling=connection.ice_controlling)
    await connection.close()


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


asyncio.run(main())
