"""Packages that are written to start from. ``linechat/`` is one as it stands: a whole channel, which only gets another name."""
