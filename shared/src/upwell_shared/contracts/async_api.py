"""AsyncAPI 3 documents of a contract, one a channel, so that a subscriber's never mentions the internal one."""

from typing import Any, Final

from upwell_shared.contracts import headers as names
from upwell_shared.contracts.json_schema import shared_schemas
from upwell_shared.contracts.model import Audience, Contract

_BINDING: Final = "0.5.0"
"""https://github.com/asyncapi/bindings/tree/master/kafka"""

_PROMISES: Final = """\
Events of one key (the id of the stream an event belongs to) arrive in the order of `ce_sequence`, which counts from 1 \
for each key of this channel without a gap. Duplicates are possible, also of events long past: keep the highest \
sequence of each key and pass over what is not above it. There is no order between keys.

Everything is kept for ever: start at the beginning and you have the whole history. After the loss of a broker's data \
the channel is filled again from the owner's ledger with the same bytes, under another `ce_logid`.

Within a type, fields are added but never removed, renamed, narrowed or made required: ignore fields you do not know. \
A breaking change is another type on the same channel: ignore types you do not know.

There are no names, contact data or free text in it. The ids are random and stand for people: they are personal data \
in law, and this is not anonymous."""

_AUDIENCES: Final[dict[Audience, str]] = {
    "public": "For subscribers: the facts of the programme, whole from the beginning.",
    "internal": "For the services of the installation only.",
}

_HEADERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    names.SPEC_VERSION: ("The version of CloudEvents.", {"const": "1.0"}),
    names.ID: ("The event: the same in every duplicate.", {"format": "uuid"}),
    names.TYPE: ("What happened.", {}),
    names.SOURCE: ("The service that says so.", {}),
    names.SUBJECT: ("The stream the event belongs to.", {"format": "uuid"}),
    names.TIME: ("When it was recorded.", {"format": "date-time"}),
    names.PARTITION_KEY: ("The record's key.", {"format": "uuid"}),
    names.SEQUENCE: (
        "Counts the events of this key on this channel from 1, in ten digits.",
        {"pattern": "^[0-9]{10}$"},
    ),
    names.CORRELATION_ID: ("The same in everything one request led to.", {"format": "uuid"}),
    names.CAUSATION_ID: ("The published event that led to this one, if one did.", {"format": "uuid"}),
    names.TRACEPARENT: ("W3C trace context of the request, if known.", {}),
    names.DATA_SCHEMA: ("The JSON Schema of the body.", {"format": "uri"}),
    names.LOG_ID: ("The log this record is in. Another one begins at sequence 1.", {"format": "uuid"}),
    names.CONTENT_TYPE: ("The form of the body.", {"const": names.JSON}),
}
_OPTIONAL: Final = {names.CAUSATION_ID, names.TRACEPARENT}


def document(contract: Contract, audience: Audience) -> dict[str, Any]:
    """The document of the channel for `audience`."""
    channel = contract.channel(audience)
    spec = next(each for each in contract.channels if each.name == channel)
    events = {name: event for name, event in contract.classes.items() if event.audience == audience}
    references, definitions = shared_schemas(list(events.values()), "#/components/schemas/{model}")
    messages = {
        name.split(".", 2)[2]: {
            "name": name,
            "title": event.__name__,
            "summary": " ".join((event.__doc__ or "").split()),
            "contentType": names.JSON,
            "headers": {"$ref": "#/components/schemas/CloudEventHeaders"},
            "payload": reference,
            "bindings": {
                "kafka": {"key": {"type": "string", "format": "uuid"}, "bindingVersion": _BINDING},
            },
        }
        for (name, event), reference in zip(events.items(), references, strict=True)
    }
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:upwell:channel:{channel}",
        "info": {
            "title": f"Upwell: {channel}",
            "version": "1",
            "description": f"{_AUDIENCES[audience]}\n\n{_PROMISES}",
        },
        "defaultContentType": names.JSON,
        "channels": {
            "events": {
                "address": channel,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {
                    "kafka": {
                        "topic": channel,
                        "partitions": spec.partitions,
                        "topicConfiguration": {
                            "cleanup.policy": ["delete"],
                            "retention.ms": int(spec.config["retention.ms"]),
                        },
                        "bindingVersion": _BINDING,
                    },
                },
            },
        },
        "operations": {
            "publish": {
                "action": "send",
                "channel": {"$ref": "#/channels/events"},
                "messages": [{"$ref": f"#/channels/events/messages/{name}"} for name in messages],
            },
        },
        "components": {
            "messages": messages,
            "schemas": {"CloudEventHeaders": _headers(contract), **definitions},
        },
    }


def _headers(contract: Contract) -> dict[str, Any]:
    properties = {
        name: {"type": "string", "description": says, **form} for name, (says, form) in _HEADERS.items()
    }
    properties[names.SOURCE]["const"] = contract.source
    return {
        "type": "object",
        "required": [name for name in _HEADERS if name not in _OPTIONAL],
        "properties": properties,
    }
