"""
What an error means for the next attempt. Every policy uses this; nothing here depends on a policy.

`classify`       the order in which evidence is asked
`error_types`    one row per error type: what each policy does with it
`evidence`       what an exception carries; `marks` finds the same in plain text
`replies`        what a reply means, by `code_words`, `phrases` (`other_languages`) and `provider_rules`
`outputs`        answers that do not fit
`bugs`           programming errors: of the program, or of an SDK
`transport`      connections that failed
`wait_hints`     how long a provider asks to wait
`results`        failures that an SDK returns
`error_rules`    which errors a setting means
"""
