"""Real mail servers for the tests, and the machinery by which tests/run provides them.

cache, isolation, debian, recipes, environment: for tests/run; standard library only.
places: who listens where, and how tests/run tells pytest what is there.
server, postfix, postfix_config, peers, certificates, process: what the fixtures in conftest start.

The small internet: zones (its domains, a table), dns_tree (signs them), unbound, scripted (mail
hosts for what real servers do not do), mta_sts (policy hosts), internet (all of it in one object),
oracle (Postfix and posttls-finger as judges).
"""
