"""
What every policy stands on. Nothing in here names a kind of policy.

Words:
    policy          one layer of a decorated function; `kind` is its decorator's name
    site            where a policy stands: the function, and the endpoint where one is chosen above it
    stack           the policies of one function, outermost first, folded into one handler
    handler         a bound layer: runs a call, or gives a stream
    state, handle   what a policy remembers under one name; the handle is the state as the registry shows it
    ticket          a state's permission for one call, handed back with what came of it
    fast path       the coroutine that a call runs through while no policy has anything to decide
    gate            what stands right in front of the function on a fast path
    StartedCall     the function of a call that began on the fast path, for the layers that take over
    call facts      what `watch()` shows of a call
"""
