"""What runs with every connection and every request: a line here is paid for by each of them.

connection    the protocols by uvicorn's names, each able to say whether its connection can go elsewhere
by_httptools  the one behind httptools, and its
flow          its flow control and addresses
parting       how it ends, or becomes a WebSocket
cycle         requests: what the application is called with, and what becomes of its messages
head          the head of a response, checked and encoded
ready         what `send` returns when there is nothing to wait for
forwarded     what a trusted proxy says of its client
by_h11        the one behind h11, through uvicorn's request cycles
watching      h11 with limits
declined      a request whose upgrade is not to be, behind httptools
bearing       what that waits for and how much it takes; whether it can go elsewhere
kept          what both do between two requests, and with clients that are turned away
keeping       who has been waited for long enough: one look at all connections
awaited       what for, and since when
limits        how long, and how much
bounded       where bodies are limited, too, or how long requests may have waited
lateness      for how long they have
arrivals      how long connections wait to be accepted
announced     the PROXY protocol
naming        gives a connection the addresses that were announced
farewell      our last word, and the time to read it
state         what all connections share
tasks         how a request becomes a task
count         responses by status and duration
load          what the worker has to do right now
activity      how many connections have had an answer lately
accesslog     the access log: lines of one turn are written together
accessline    one line of it
output        whole lines, many at a time, to where others write, too
fitting       which uvicorn this is made for
"""

from __future__ import annotations

from typing import NamedTuple


class Replaced(NamedTuple):
    """What uvicorn expects somewhere, what we put there, and why."""

    theirs: str
    ours: str
    why: str


REPLACED = (
    Replaced(
        "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
        "by_httptools:TransferableHttpTools",
        "can hand its connection over; looks up nothing that the process knows; starts the application when "
        "what has come is parsed; is its own flow control",
    ),
    Replaced(
        "uvicorn.protocols.http.httptools_impl:RequestResponseCycle",
        "cycle:Cycle",
        "head and body in one write; nothing made that nobody waits for; counted and logged where known",
    ),
    Replaced(
        "uvicorn.protocols.http.flow_control:FlowControl",
        "flow:Flow",
        "an event and an object less for each connection; most never wait",
    ),
    Replaced(
        "uvicorn.protocols.http.h11_impl:H11Protocol",
        "by_h11:TransferableH11",
        "can hand its connection over; uvicorn's cycle, with counting around the application",
    ),
    Replaced(
        "uvicorn.middleware.proxy_headers:ProxyHeadersMiddleware",
        "forwarded:Forwarded",
        "asks uvicorn's own, but only when one of its headers has come",
    ),
    Replaced(
        "uvicorn.server:ServerState",
        "state:State",
        "counts as it changes, encodes default headers once, knows who wants idle connections",
    ),
    Replaced(
        "uvicorn.server:ServerState.tasks",
        "load:Load",
        "writes into the scoreboard when a request begins and ends",
    ),
    Replaced(
        "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.timeout_keep_alive_task",
        "keeping:Keeping",
        "all connections are looked at from time to time, instead of a timer for each response",
    ),
    Replaced(
        "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.access_logger",
        "accesslog:AccessLog",
        "lines of one turn of the event loop are made and written together",
    ),
)
"""Everywhere else uvicorn runs as it is: configuration, lifespan, WebSockets, parsers, h11's cycle."""

RELIED_ON = (
    "uvicorn.config:Config.load",
    "uvicorn.logging:TRACE_LOG_LEVEL",
    "uvicorn.middleware.proxy_headers:ProxyHeadersMiddleware.__call__",
    "uvicorn.protocols.http.flow_control:HIGH_WATER_LIMIT",
    "uvicorn.protocols.http.flow_control:service_unavailable",
    "uvicorn.protocols.http.h11_impl:H11Protocol._unset_keepalive_if_required",
    "uvicorn.protocols.http.h11_impl:H11Protocol.handle_events",
    "uvicorn.protocols.http.h11_impl:H11Protocol.handle_websocket_upgrade",
    "uvicorn.protocols.http.h11_impl:H11Protocol.send_400_response",
    "uvicorn.protocols.http.h11_impl:H11Protocol.shutdown",
    "uvicorn.protocols.http.h11_impl:H11Protocol.timeout_keep_alive_handler",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol._should_upgrade",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol._unset_keepalive_if_required",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol._unsupported_upgrade_warning",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.handle_websocket_upgrade",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.on_url",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.send_400_response",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.shutdown",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.timeout_keep_alive_handler",
    "uvicorn.protocols.utils:get_client_addr",
    "uvicorn.protocols.utils:get_local_addr",
    "uvicorn.protocols.utils:get_path_with_query_string",
    "uvicorn.protocols.utils:get_remote_addr",
    "uvicorn.protocols.utils:is_ssl",
)
"""Names of uvicorn's that are no documented interface. A test fails by name when one is gone, or when a
method that we leave as it is wants something of a connection that ours has not."""
