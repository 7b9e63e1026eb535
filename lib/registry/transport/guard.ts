/**
 * Keeps a registry on the internet from pointing into the user's own network. A token service or a redirect target that
 * it names may have a private address only when the registry itself has one.
 */
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { Status } from '../../base/status.js';
import { bareHost, isHost, isLoopback } from '../names/hosts.js';
import { RegistryFailure } from './failure.js';

/**
 * Addresses that are not globally reachable, where services of a private network may be. Source: IANA's special-purpose
 * address registries.
 */
const privateNets4: [address: string, prefix: number][] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
];
const privateNets6: [address: string, prefix: number][] = [
  // Loopback, and IPv4 addresses in a form that RFC 4291 gave up.
  ['::', 96],
  // NAT64 for local use, RFC 8215.
  ['64:ff9b:1::', 48],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
];

export class Guard {
  private homeIsPrivate: boolean | undefined;
  private blocked: BlockList | undefined;

  /**
   * `home` is the registry's own origin. `allowed` are hosts, possibly with a port, that the user trusts at any
   * address. They are neither networks nor patterns, so that a hostile registry can reach nothing else. `resolve` gives
   * the addresses of a host name.
   */
  constructor(
    private readonly home: URL,
    private readonly allowed: string[] = [],
    private readonly resolve: (host: string) => Promise<string[]> = resolveHost,
  ) {}

  isPrivate(address: string): boolean {
    this.blocked ??= blockList();
    // BlockList also matches an IPv4 address that is written as IPv6 (::ffff:10.0.0.1).
    return this.blocked.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  }

  /** Which of the two look-ups below is for a socket to this host; undefined for the system's own. */
  lookupFor(url: URL): 'lookup' | 'homeLookup' | undefined {
    if (url.origin === this.home.origin) return 'homeLookup';
    return this.allowed.some((host) => isHost(url, host)) ? undefined : 'lookup';
  }

  /**
   * Throws `Failure` 76 when `url` has a private address that the registry must not point to. Names are checked by
   * `lookup`.
   */
  async check(url: URL): Promise<void> {
    if (this.lookupFor(url) !== 'lookup') return;
    const host = bareHost(url.hostname);
    const isPrivate = isIP(host) ? this.isPrivate(host) : isLoopback(host);
    if (isPrivate && !(await this.sharesPrivateNet())) throw this.refusal(url.hostname);
  }

  /** For sockets to hosts other than the registry: resolves a name, and refuses a private address. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    resolveAll(hostname, options, (error, found) => {
      if (error || !found.some(({ address }) => this.isPrivate(address))) {
        answer(callback, options.all, error, found);
        return;
      }
      this.sharesPrivateNet().then(
        (shares) => {
          if (shares) answer(callback, options.all, null, found);
          else callback(this.refusal(hostname), '');
        },
        callback as (error: Error) => void,
      );
    });
  };

  /** For sockets to the registry itself: resolves its name, and remembers whether its address is private. */
  readonly homeLookup: LookupFunction = (hostname, options, callback) => {
    resolveAll(hostname, options, (error, found) => {
      if (!error) this.sawHome(found.map(({ address }) => address));
      answer(callback, options.all, error, found);
    });
  };

  private async sharesPrivateNet(): Promise<boolean> {
    const host = bareHost(this.home.hostname);
    if (isIP(host)) return this.isPrivate(host);
    if (this.homeIsPrivate === undefined) this.sawHome(await this.resolve(host));
    return this.homeIsPrivate ?? false;
  }

  /** Once seen at a public address, a registry counts as public, whatever its name server says later. */
  private sawHome(addresses: string[]): void {
    const isPrivate = addresses.length > 0 && addresses.every((address) => this.isPrivate(address));
    this.homeIsPrivate = isPrivate && this.homeIsPrivate !== false;
  }

  private refusal(host: string): RegistryFailure {
    return new RegistryFailure(
      Status.protocol,
      this.home.origin,
      `it points to ${host}, an address in a private network, which is refused`,
      { hint: 'if that is as it should be, pass --allow-private HOST[:PORT]' },
    );
  }
}

function answer(
  callback: Parameters<LookupFunction>[2],
  all: boolean | undefined,
  error: NodeJS.ErrnoException | null,
  found: { address: string; family: number }[],
): void {
  if (error || all) callback(error, found);
  else callback(null, found[0]!.address, found[0]!.family);
}

function blockList(): BlockList {
  const list = new BlockList();
  for (const [address, prefix] of privateNets4) {
    list.addSubnet(address, prefix, 'ipv4');
    // NAT64, RFC 6052: the last 32 bits are the IPv4 address that a translator connects to.
    list.addSubnet(`64:ff9b::${address}`, 96 + prefix, 'ipv6');
  }
  for (const [address, prefix] of privateNets6) list.addSubnet(address, prefix, 'ipv6');
  return list;
}

type Resolved = (error: NodeJS.ErrnoException | null, found: { address: string; family: number }[]) => void;

/** Resolves a name. The resolver is loaded only now, since a registry on loopback may need none. */
function resolveAll(host: string, options: Parameters<LookupFunction>[1], done: Resolved): void {
  process.getBuiltinModule('node:dns').lookup(host, { ...options, all: true }, done);
}

function resolveHost(host: string): Promise<string[]> {
  return new Promise((resolve) => {
    // A name that only the proxy can resolve does not belong to a private network of this machine.
    resolveAll(host, {}, (error, found) => resolve(error ? [] : found.map(({ address }) => address)));
  });
}
