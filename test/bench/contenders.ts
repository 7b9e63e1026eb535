/** Who competes in pulling an image to an unpacked tree, or to verified blobs. `$1` is the directory of the run. */
import type { Contender } from './measure.js';

const podmanFlags = '--root $1/storage --runroot $1/run --storage-driver overlay';

/** `flags` are those of md-token. */
export function pullers(image: string, flags = ''): Contender[] {
  return [
    {
      name: 'md-token | md-manifest | md-fetch-layer | md-unpack',
      script: `export MD_HOME=$1/home; md-token ${flags} ${image} | md-manifest | md-fetch-layer | md-unpack $1/rootfs`,
    },
    {
      name: 'md-fetch-layer IMAGE | md-unpack',
      script: `export MD_HOME=$1/home; md-fetch-layer ${flags} ${image} | md-unpack $1/rootfs`,
    },
    {
      name: 'skopeo copy + umoci unpack',
      programs: ['skopeo', 'umoci'],
      script: `skopeo --insecure-policy copy -q --src-tls-verify=false docker://${image} oci:$1/layout:it &&
        umoci unpack --image $1/layout:it $1/bundle`,
    },
    {
      name: 'podman pull',
      programs: ['podman'],
      script: `podman ${podmanFlags} pull -q --tls-verify=false ${image}`,
      tidy: 'umount -l $1/storage/overlay 2>/dev/null || true',
    },
    {
      name: 'crane export | tar',
      programs: ['crane'],
      script: `mkdir $1/rootfs && crane export --insecure ${image} - | tar -x -p -C $1/rootfs`,
    },
  ];
}

/** `flags` are those of md-token. */
export function fetchers(image: string, flags = ''): Contender[] {
  return [
    {
      name: 'md-token | md-manifest | md-fetch-layer',
      script: `MD_HOME=$1/home; export MD_HOME; md-token ${flags} ${image} | md-manifest | md-fetch-layer`,
    },
    { name: 'md-fetch-layer IMAGE', script: `MD_HOME=$1/home md-fetch-layer ${flags} ${image}` },
    {
      name: 'skopeo copy docker:// oci:',
      programs: ['skopeo'],
      script: `skopeo --insecure-policy copy -q --src-tls-verify=false docker://${image} oci:$1/layout:it`,
    },
    {
      name: 'crane pull --format oci',
      programs: ['crane'],
      script: `crane pull --insecure --format oci ${image} $1/layout`,
    },
  ];
}
