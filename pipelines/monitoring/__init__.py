"""Watches the answers. What to read first:

what is counted      measures, source, windows (panes, topics); history and recent say over which records, observed what is measured beside
what is too much     detectors: threshold, burn, shift (reference); seen is what they are shown; simulate plants faults to try them on
who does it          watcher, round by round over watched domains (learning, lease)
what follows         incidents (cause, traces), alerts (message, senders), actions (holdbacks), desk for people
measured by the hour texts, judging, probes, drift (differences); drill and summary by the week
what people see      page_data, page_events, page_requests, charts (plain_svg), grafana (grafana_panels)
"""
