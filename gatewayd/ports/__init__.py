"""The sockets: what a channel, an agent core and a store must look like. Protocols and manifests, no behaviour."""
