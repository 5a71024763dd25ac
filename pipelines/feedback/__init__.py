"""Learns from what went wrong. In the order of a complaint's way:

in        inbound (quota), harvest (sampling), transcripts; opening makes an item of each, fingerprint tells equal questions
review    queue, deciding (answers, rights, agreement); texts is what an item holds, retention ends it
back      corrections: into the landing zone, and what a release made of them; figures and page_data for people
"""
