"""The closed vocabulary of a spoken conversation: someone speaks, a model answers, aloud or in writing.

A conversation is a list of items: messages, a model's calls of tools, and what the tools gave. What the caller says
becomes an item when it is committed, by turn detection or by the caller. A response adds the model's items to the list,
unless it is out of band. Positions of the caller's audio are milliseconds from the start of all the audio that was
appended; positions of a reply, from the start of its item's speech.

Every input may carry the caller's own id for it, `event_id`, so that a `Refused` can refer to it. Inputs take effect in
their order. A refused input changes nothing, and the conversation goes on.

What comes back, in order:

| what happens           | outputs                                                                                  |
|------------------------|------------------------------------------------------------------------------------------|
| it opens               | `Began`                                                                                  |
| the caller speaks      | `TurnStarted`, `TranscriptionDelta`..., `TurnStopped`, `AudioCommitted`, `ItemAdded`,    |
|                        | `ItemDone`, later `TranscriptionDone` or `TranscriptionFailed`                           |
| a response             | `ResponseStarted`, `RateLimits`, for each of its items `OutputStarted` (and `ItemAdded`), |
|                        | its deltas, `OutputEnded` (and `ItemDone`), at last `ResponseEnded`                      |
| the caller breaks in   | `TurnStarted`, the response ends as `INTERRUPTED`, `ItemTruncated` of what was not heard |
| nobody speaks for long | `IdleReached`, then as if the caller had committed and asked for a response              |
| it cannot go on        | `Failed`, the last                                                                       |

`TranscriptionDelta`, `TranscriptionDone` and `TranscriptionFailed` come only where the spec has `transcription`. Items
of one response may overlap: a tool is called while the words before it are still being spoken.
"""
