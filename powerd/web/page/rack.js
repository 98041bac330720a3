// Who draws what in the rack, and what passes between its hosts, as any host of it sees it.
function showRack(status) {
  const lending = status.lending;
  setHidden(byId("rack"), lending === null);
  if (lending === null) return;
  setText(byId("lending"), aboutLending(status, lending));
  const hosts = [ownRow(status), ...status.peers.map(peerRow)];
  const scale = Math.max(1, ...hosts.map((host) => Math.max(host.most ?? 0, host.share ?? 0)));
  keep(byId("hosts"), hosts, (host) => host.name, newHost, (row, host) => fillHost(row, host, scale));
  keepLines(byId("leases"), status.leases.map((lease) => leaseLine(lease, status.host)), "None: nobody's watts are used by anybody else.");
}

function aboutLending(status, lending) {
  const heard = status.peers.filter((peer) => peer.live).length;
  const facts = [`${heard} of ${status.peers.length} other hosts heard`];
  facts.push(lending.obstacle ? `this one neither lends nor borrows: ${lending.obstacle}`
    : `this one ${dealings(lending)}`);
  if (lending.memory_lost_s !== null) facts.push(`at its floor for at least ${duration(lending.memory_lost_s)} more`);
  if (lending.given_up_watts > 0) facts.push(`gives up ${kilowatts(lending.given_up_watts)} for hosts that may follow a higher budget`);
  return `${joined(facts, "; ")}.`;
}

function dealings(lending) {
  const dealt = [["lends", lending.lent_watts], ["borrows", lending.borrowed_watts]].filter(([, watts]) => watts > 0);
  return dealt.length ? joined(dealt.map(([verb, watts]) => `${verb} ${kilowatts(watts)}`)) : "neither lends nor borrows now";
}

function ownRow(status) {
  const budget = status.budget;
  const wants = status.gpus.map((gpu) => gpu.want_watts);
  return {
    name: status.host, own: true, state: "this host", kind: "good",
    draws: budget.draw_watts === null ? null : budget.draw_watts + budget.overhead_watts,
    most: budget.allocated_watts + budget.overhead_watts, share: budget.entitlement_watts,
    wants: wants.includes(null) ? null : wants.reduce((sum, watts) => sum + watts, budget.overhead_watts), spare: null,
  };
}

function peerRow(peer) {
  const [state, kind] = liveness(peer);
  return {
    name: peer.host, own: false, state, kind, draws: peer.draw_watts, most: peer.worst_case_watts,
    share: peer.share_watts, wants: peer.demand_watts, spare: peer.spare_watts,
  };
}

function liveness(peer) {
  if (peer.age_s === null) return ["never heard", "warning"];
  if (!peer.live) return [`silent for ${duration(peer.age_s)}`, "warning"];
  if (!peer.roster_agrees) return ["has another roster", "warning"];
  return peer.taking_part ? ["heard", "good"] : ["heard, does not lend", "good"];
}

function newHost() {
  const names = ["host", "state", "draws", "at most", "share", "wants", "can lend"];
  const cells = names.map((name, position) => {
    const cell = element(position ? "td" : "th", position < 2 ? "" : "number");
    cell.setAttribute("role", position ? "cell" : "rowheader");
    cell.dataset.label = name;
    return cell;
  });
  cells[0].scope = "row";
  cells[0].append(element("span"), parent("i", "bar", element("i", "range"), element("i", "draw"), element("i", "limit")));
  const row = parent("tr", "", ...cells);
  row.setAttribute("role", "row");
  return row;
}

function fillHost(row, host, scale) {
  const [head, ...cells] = row.children;
  const [name, bar] = head.children;
  const numbers = [host.draws, host.most, host.share, host.wants].map((watts) => (watts === null ? "\u2013" : kilowatts(watts)));
  setClass(row, joined([host.own ? "own" : "", host.kind], " "));
  setText(name, host.name);
  [host.state, ...numbers, host.spare === null ? "\u2013" : kilowatts(host.spare)].forEach((text, position) => setText(cells[position], text));
  setPlace(bar, "--floor", 0, scale);
  setPlace(bar, "--ceiling", host.share, scale);
  setPlace(bar, "--draws", host.draws, scale);
  setPlace(bar, "--limit", host.most, scale);
}

function leaseLine(lease, own) {
  const [from, to] = lease.direction === "lent" ? [own, lease.host] : [lease.host, own];
  return {
    key: `${lease.direction} ${lease.host}`, kind: "lease", mark: "", text: `${from} \u2192 ${to}  ${kilowatts(lease.watts)}`,
    more: `ends in ${duration(lease.remaining_s)} unless it is renewed`,
  };
}
