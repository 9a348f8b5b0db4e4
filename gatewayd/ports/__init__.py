"""The ports: the interfaces of a channel, an agent core and a store. Protocols and manifests, no behaviour."""
