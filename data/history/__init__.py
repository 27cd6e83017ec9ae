"""Point-in-time features: for each impression, what was known of its user and item a delay before it was shown.

`signals` names what is counted, `facts` says what became known when; `timeline` finds what lies before a moment;
`aggregates`, `sequences` and `ages` are the features of any key at any moment; `features` asks them for impressions, `state`
for the end of the log. Every number is a function of the facts as a set: neither their order nor the other keys in a
partition change a bit of it.
"""
