// From crds/tenant.yaml, made by `npm run generate`; change that one instead.
// Fields with a default are required here: the API server and parse.ts fill them in.
import type { ObjectMeta } from '../kube/object.ts';
import type { Condition } from './conditions.ts';

/**
 * A Tenant is one team on the cluster. It owns one namespace, fenced by a quota, limits, network policies and roles that the
 * operator makes and keeps; the team's BatchJobs live in that namespace.
 */
export interface Tenant {
  /**
   * Version of this schema, millrace.dev/v1alpha1.
   */
  apiVersion: 'millrace.dev/v1alpha1';
  /**
   * Kind of this object, Tenant.
   */
  kind: 'Tenant';
  metadata: ObjectMeta;
  spec: TenantSpec;
  status?: TenantStatus;
}
/**
 * What the team has and what it may do.
 */
export interface TenantSpec {
  /**
   * Namespace of the tenant, tenant-<name> when left out. The operator makes it. One that exists already is refused unless an
   * administrator sets the annotation millrace.dev/adopt-by to the name of this Tenant on it. Cannot be changed.
   */
  namespace?: string;
  /**
   * Who may work in the namespace: make and delete BatchJobs, ConfigMaps, Secrets and PersistentVolumeClaims, and read pods,
   * their logs and events. Owners cannot change the quota, limits, network policies or roles.
   */
  owners: TenantOwner[];
  /**
   * Hard limits of the tenant's ResourceQuota, such as requests.cpu, limits.memory, requests.nvidia.com/gpu, persistentvolumeclaims or
   * count/batchjobs.millrace.dev. Left out, the tenant has no quota. Lowering one below what is used evicts nothing; it keeps new
   * pods out.
   */
  quota?: {
    /**
     * A quantity such as 500m, 2 or 8Gi.
     */
    [k: string]: number | string;
  };
  limits?: TenantLimits;
  network: TenantNetwork;
  scheduling: TenantScheduling;
  /**
   * Names of Secrets in the namespace with which the nodes pull images for worker pods.
   *
   * Items: Name of a Secret of type kubernetes.io/dockerconfigjson.
   */
  imagePullSecrets: string[];
  /**
   * Beginnings of the image references that spec.model.image of this tenant's BatchJobs may have, such as
   * registry.example/acme/ or registry.example/models/digits. One ends at a '/', ':' or '@' of the reference, so that
   * registry.example/acme does not let registry.example/acme-evil in. Left out or empty, any image. What the operator's
   * own settings allow must hold too.
   *
   * Items: A registry, a repository path or a whole reference.
   */
  allowedModelImages: string[];
  /**
   * Share of the cluster when tenants want more than there is: one of weight 2 gets twice as much as one of weight 1. What a
   * tenant does not use is lent to the others.
   */
  weight: number;
  /**
   * Highest spec.priority that a BatchJob of this tenant may have.
   */
  maxPriority: number;
  /**
   * When true, BatchJobs that have not started stay pending. Running ones go on.
   */
  cordoned: boolean;
  /**
   * What becomes of the namespace when the Tenant is deleted. Retain keeps it as it is, with its fence and its data. Delete deletes it
   * with everything in it.
   */
  deletionPolicy: 'Retain' | 'Delete';
}
/**
 * A user, a group or a service account.
 */
export interface TenantOwner {
  /**
   * User, Group or ServiceAccount.
   */
  kind: 'User' | 'Group' | 'ServiceAccount';
  /**
   * Name as the cluster's authentication tells it.
   */
  name: string;
  /**
   * Namespace of the ServiceAccount.
   */
  namespace?: string;
}
/**
 * Limits for each container in the namespace, held by a LimitRange. Left out, there are none.
 */
export interface TenantLimits {
  /**
   * Limits of a container that states none.
   */
  default?: {
    /**
     * A quantity such as 500m, 2 or 8Gi.
     */
    [k: string]: number | string;
  };
  /**
   * Requests of a container that states none.
   */
  defaultRequest?: {
    /**
     * A quantity such as 500m, 2 or 8Gi.
     */
    [k: string]: number | string;
  };
  /**
   * The most that a container may have as limit.
   */
  max?: {
    /**
     * A quantity such as 500m, 2 or 8Gi.
     */
    [k: string]: number | string;
  };
  /**
   * The least that a container must request.
   */
  min?: {
    /**
     * A quantity such as 500m, 2 or 8Gi.
     */
    [k: string]: number | string;
  };
}
/**
 * What pods of the namespace may reach beyond DNS and the operator, and what may reach them. Everything else is denied, also
 * between pods of the namespace.
 */
export interface TenantNetwork {
  /**
   * Allowed connections out of the pods, as in spec.egress of a NetworkPolicy.
   */
  egress: TenantNetworkEgress[];
  /**
   * Allowed connections to the pods, as in spec.ingress of a NetworkPolicy.
   */
  ingress: TenantNetworkIngress[];
}
/**
 * Destinations and ports.
 */
export interface TenantNetworkEgress {
  /**
   * Destinations. Left out or empty, any.
   */
  to?: TenantNetworkEgressTo[];
  /**
   * Ports that this rule allows. Left out or empty, all ports.
   */
  ports?: TenantNetworkEgressPort[];
}
/**
 * A peer, given by selectors or by an address block.
 */
export interface TenantNetworkEgressTo {
  podSelector?: TenantNetworkEgressToPodSelector;
  namespaceSelector?: TenantNetworkEgressToNamespaceSelector;
  ipBlock?: TenantNetworkEgressToIpBlock;
}
/**
 * Pods with these labels; in this namespace, or in those that namespaceSelector picks.
 */
export interface TenantNetworkEgressToPodSelector {
  /**
   * Labels that must all be present with these values.
   */
  matchLabels?: {
    /**
     * Value of the label.
     */
    [k: string]: string;
  };
  /**
   * Requirements on labels that must all hold.
   */
  matchExpressions?: TenantNetworkEgressToPodSelectorMatchExpression[];
}
/**
 * A requirement on one label.
 */
export interface TenantNetworkEgressToPodSelectorMatchExpression {
  /**
   * Key of the label.
   */
  key: string;
  /**
   * How the label's value relates to the given values.
   */
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  /**
   * Values for In and NotIn; empty for Exists and DoesNotExist.
   *
   * Items: A value of the label.
   */
  values?: string[];
}
/**
 * Namespaces with these labels; an empty selector picks all.
 */
export interface TenantNetworkEgressToNamespaceSelector {
  /**
   * Labels that must all be present with these values.
   */
  matchLabels?: {
    /**
     * Value of the label.
     */
    [k: string]: string;
  };
  /**
   * Requirements on labels that must all hold.
   */
  matchExpressions?: TenantNetworkEgressToNamespaceSelectorMatchExpression[];
}
/**
 * A requirement on one label.
 */
export interface TenantNetworkEgressToNamespaceSelectorMatchExpression {
  /**
   * Key of the label.
   */
  key: string;
  /**
   * How the label's value relates to the given values.
   */
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  /**
   * Values for In and NotIn; empty for Exists and DoesNotExist.
   *
   * Items: A value of the label.
   */
  values?: string[];
}
/**
 * A block of addresses.
 */
export interface TenantNetworkEgressToIpBlock {
  /**
   * The block, such as 10.0.0.0/8 or 2001:db8::/64.
   */
  cidr: string;
  /**
   * Blocks within cidr that are left out.
   *
   * Items: A block within cidr.
   */
  except?: string[];
}
/**
 * A port or a range of ports.
 */
export interface TenantNetworkEgressPort {
  /**
   * TCP, UDP or SCTP.
   */
  protocol: 'TCP' | 'UDP' | 'SCTP';
  /**
   * Number of the port, or its name in the pod. Left out, all ports of the protocol.
   */
  port?: number | string;
  /**
   * Last port of a range that starts at port.
   */
  endPort?: number;
}
/**
 * Sources and ports.
 */
export interface TenantNetworkIngress {
  /**
   * Sources. Left out or empty, any.
   */
  from?: TenantNetworkIngressFrom[];
  /**
   * Ports that this rule allows. Left out or empty, all ports.
   */
  ports?: TenantNetworkIngressPort[];
}
/**
 * A peer, given by selectors or by an address block.
 */
export interface TenantNetworkIngressFrom {
  podSelector?: TenantNetworkIngressFromPodSelector;
  namespaceSelector?: TenantNetworkIngressFromNamespaceSelector;
  ipBlock?: TenantNetworkIngressFromIpBlock;
}
/**
 * Pods with these labels; in this namespace, or in those that namespaceSelector picks.
 */
export interface TenantNetworkIngressFromPodSelector {
  /**
   * Labels that must all be present with these values.
   */
  matchLabels?: {
    /**
     * Value of the label.
     */
    [k: string]: string;
  };
  /**
   * Requirements on labels that must all hold.
   */
  matchExpressions?: TenantNetworkIngressFromPodSelectorMatchExpression[];
}
/**
 * A requirement on one label.
 */
export interface TenantNetworkIngressFromPodSelectorMatchExpression {
  /**
   * Key of the label.
   */
  key: string;
  /**
   * How the label's value relates to the given values.
   */
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  /**
   * Values for In and NotIn; empty for Exists and DoesNotExist.
   *
   * Items: A value of the label.
   */
  values?: string[];
}
/**
 * Namespaces with these labels; an empty selector picks all.
 */
export interface TenantNetworkIngressFromNamespaceSelector {
  /**
   * Labels that must all be present with these values.
   */
  matchLabels?: {
    /**
     * Value of the label.
     */
    [k: string]: string;
  };
  /**
   * Requirements on labels that must all hold.
   */
  matchExpressions?: TenantNetworkIngressFromNamespaceSelectorMatchExpression[];
}
/**
 * A requirement on one label.
 */
export interface TenantNetworkIngressFromNamespaceSelectorMatchExpression {
  /**
   * Key of the label.
   */
  key: string;
  /**
   * How the label's value relates to the given values.
   */
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  /**
   * Values for In and NotIn; empty for Exists and DoesNotExist.
   *
   * Items: A value of the label.
   */
  values?: string[];
}
/**
 * A block of addresses.
 */
export interface TenantNetworkIngressFromIpBlock {
  /**
   * The block, such as 10.0.0.0/8 or 2001:db8::/64.
   */
  cidr: string;
  /**
   * Blocks within cidr that are left out.
   *
   * Items: A block within cidr.
   */
  except?: string[];
}
/**
 * A port or a range of ports.
 */
export interface TenantNetworkIngressPort {
  /**
   * TCP, UDP or SCTP.
   */
  protocol: 'TCP' | 'UDP' | 'SCTP';
  /**
   * Number of the port, or its name in the pod. Left out, all ports of the protocol.
   */
  port?: number | string;
  /**
   * Last port of a range that starts at port.
   */
  endPort?: number;
}
/**
 * Where worker pods of the tenant may run.
 */
export interface TenantScheduling {
  /**
   * Labels that a node must have to run worker pods of this tenant. They are put on every worker pod; a BatchJob may ask for more
   * labels, but not for other values of these.
   */
  nodeSelector: {
    /**
     * Value of the label.
     */
    [k: string]: string;
  };
  /**
   * Tolerations that BatchJobs of this tenant may ask for, such as the one for the taint of the GPU nodes. A BatchJob that asks
   * for another is refused.
   */
  tolerations: TenantSchedulingToleration[];
}
/**
 * A toleration as in the spec of a pod.
 */
export interface TenantSchedulingToleration {
  /**
   * Key of the taint. Left out with operator Exists, every taint.
   */
  key?: string;
  /**
   * Exists, or Equal to compare the value too.
   */
  operator: 'Exists' | 'Equal';
  /**
   * Value of the taint.
   */
  value?: string;
  /**
   * Effect of the taint. Left out, all effects.
   */
  effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
  /**
   * With NoExecute, for how many seconds the taint is tolerated. Left out, for ever.
   */
  tolerationSeconds?: number;
}
/**
 * What the operator found and did.
 */
export interface TenantStatus {
  /**
   * Ready, Cordoned (ready, but starting no BatchJobs), Pending (being set up), Failed (needs a change, see message) or Terminating.
   */
  state?: 'Pending' | 'Ready' | 'Cordoned' | 'Failed' | 'Terminating';
  /**
   * Namespace of the tenant.
   */
  namespace?: string;
  /**
   * What there is to know or to do, in a sentence.
   */
  message?: string;
  /**
   * metadata.generation of the spec that this status tells about.
   */
  observedGeneration?: number;
  /**
   * What is used of each resource of the quota.
   */
  usage?: {
    [k: string]: TenantStatusUsage;
  };
  summary?: TenantStatusSummary;
  jobs?: TenantStatusJobs;
  /**
   * Ready, Reconciling and Stalled, as kstatus reads them.
   */
  conditions?: Condition[];
}
/**
 * Use and limit of one resource.
 */
export interface TenantStatusUsage {
  /**
   * In use.
   */
  used: string;
  /**
   * The limit that is in force.
   */
  hard: string;
}
/**
 * Ready-made texts for the columns of kubectl get.
 */
export interface TenantStatusSummary {
  /**
   * CPU in use and its quota, such as 1500m/4.
   */
  cpu?: string;
  /**
   * Memory in use and its quota.
   */
  memory?: string;
  /**
   * GPUs in use and their quota.
   */
  gpu?: string;
  /**
   * BatchJobs that run and that wait.
   */
  jobs?: string;
}
/**
 * BatchJobs of the tenant by state.
 */
export interface TenantStatusJobs {
  /**
   * BatchJobs that have not started.
   */
  pending: number;
  /**
   * BatchJobs with workers.
   */
  running: number;
  /**
   * BatchJobs that are suspended.
   */
  suspended: number;
  /**
   * BatchJobs that finished.
   */
  complete: number;
  /**
   * BatchJobs that failed.
   */
  failed: number;
}
