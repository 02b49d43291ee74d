# shellcheck shell=sh
# Of the Ansible collection mcp_tunnels.stack; edits are overwritten.
# Run after nftables.service has started, reloaded or stopped, each of which empties the whole ruleset: puts our table back.
# If it cannot be loaded, our services end at once. They start again only if mcp-tunnel-firewall.service, which they require, can load
# the rules after all.
/usr/sbin/nft -f /etc/nftables.d/mcp-tunnel.nft && exit
echo "<2>MCP tunnels: nftables.service took our rules away, and they cannot be loaded again. No rules, no service: see journalctl -u mcp-tunnel-firewall" >&2
set -- "mcp-proxy@*.service" "mcp-cloudflared@*.service"
# Killed, because they have the network until their end.
systemctl kill --signal=SIGKILL "$@"
# A service that is killed in the middle of its restart would look as if it were about to start.
for _ in 1 2 3 4 5 6 7 8 9; do
    systemctl is-active --quiet "$@" || break
    sleep 0.1
done
# Not waited for: the restart waits for nftables.service where that stops.
systemctl --no-block try-restart mcp-tunnel-firewall.service
# Once more, in case systemd has brought one back meanwhile.
systemctl kill --signal=SIGKILL "$@"
