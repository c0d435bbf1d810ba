"""
The base of every policy. Nothing in here names a kind of policy.

Words:
    policy          one layer of a decorated function; `kind` is its decorator's name
    site            the call site of a policy: the function, and the endpoint if one is chosen above it
    stack           the policies of one function, outermost first, folded into one handler
    handler         a bound layer: runs a call, or returns a stream
    state, handle   what a policy keeps under one name; the handle is the state's face in the registry
    ticket          a state's permission for one call, handed back with the outcome
    fast path       the coroutine that a call runs through while no policy has anything to decide
    gate            the check right in front of the function on a fast path
    StartedCall     the function of a call that began on the fast path, for the layers that take over
    call facts      what `watch()` collects about a call
"""
