"""What the gateway publishes: it decides nothing, but it holds rows about people and forgets them."""

from upwell_shared.contracts import Contract
from upwell_shared.contracts.erasure import PersonErasureAcknowledged

CONTRACT = Contract("gateway", PersonErasureAcknowledged)
