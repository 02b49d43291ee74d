"""The stand-in for cloudflared: same command line, same wire protocol, one executable file."""
