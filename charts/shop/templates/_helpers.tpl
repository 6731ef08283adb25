{{- /*
The words that the templates share. A helper that needs more than the root takes a dict with `root` in it.
The functions used here and in the templates are few on purpose: another engine than helm's renders this chart too.
*/}}

{{- /* The labels of an object. Takes root, name, component. */}}
{{- define "shop.labels" -}}
{{ include "shop.podLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- /* The labels of a pod: none that changes with a version, since a changed pod template starts pods again. */}}
{{- define "shop.podLabels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: shop
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* What every pod of the shop has. */}}
{{- define "shop.everyPod" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: shop
{{- end }}

{{- define "shop.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "shop.postgresqlImage" -}}
{{- if .Values.postgresql.image.digest -}}
{{ .Values.postgresql.image.repository }}@{{ .Values.postgresql.image.digest }}
{{- else -}}
{{ .Values.postgresql.image.repository }}:{{ .Values.postgresql.image.tag }}
{{- end -}}
{{- end }}

{{- /* The security of a pod. Takes the user that it runs as. */}}
{{- define "shop.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "shop.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- /* Where a pod may run and how long it stays on a node that is lost. Takes root, name. */}}
{{- define "shop.scheduling" -}}
{{- with .root.Values.scheduling.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.scheduling.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
tolerations:
  - key: node.kubernetes.io/not-ready
    operator: Exists
    effect: NoExecute
    tolerationSeconds: {{ .root.Values.scheduling.lostNodeSeconds }}
  - key: node.kubernetes.io/unreachable
    operator: Exists
    effect: NoExecute
    tolerationSeconds: {{ .root.Values.scheduling.lostNodeSeconds }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Pods of one ReplicaSet apart from each other. Takes root, name. */}}
{{- define "shop.spread" -}}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: {{ .root.Values.scheduling.zones }}
  labelSelector:
    matchLabels:
      app.kubernetes.io/name: {{ .name }}
  matchLabelKeys: [pod-template-hash]
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: {{ .root.Values.scheduling.hosts }}
  labelSelector:
    matchLabels:
      app.kubernetes.io/name: {{ .name }}
  matchLabelKeys: [pod-template-hash]
{{- end }}

{{- /* The names of the Secrets, whoever made them. */}}
{{- define "shop.secretsName" -}}
{{ .Values.secrets.existingSecret | default "shop-secrets" }}
{{- end }}
{{- define "shop.adminName" -}}
{{ .Values.secrets.existingAdminSecret | default "shop-admin" }}
{{- end }}
{{- define "shop.databaseName" -}}
{{ .Values.database.existingSecret | default "shop-database" }}
{{- end }}

{{- /* The database's address, without its password: that comes from a file. */}}
{{- define "shop.databaseUrl" -}}
{{- $external := .Values.database.external -}}
{{- if $external.host -}}
postgresql://{{ .Values.database.user }}@{{ $external.host }}:{{ $external.port }}/{{ .Values.database.name }}?sslmode={{ $external.sslmode }}{{ if $external.caSecret }}&sslrootcert=/run/shop/database-ca/ca.crt{{ end }}
{{- else -}}
postgresql://{{ .Values.database.user }}@postgresql:5432/{{ .Values.database.name }}?sslmode=disable
{{- end -}}
{{- end }}

{{- /* Where customers find the shop. */}}
{{- define "shop.url" -}}
{{- if .Values.shopUrl -}}
{{ .Values.shopUrl }}
{{- else if .Values.ingress.enabled -}}
{{ if .Values.ingress.tls.enabled }}https{{ else }}http{{ end }}://{{ .Values.ingress.host }}
{{- else -}}
http://gateway.{{ .Release.Namespace }}
{{- end -}}
{{- end }}

{{- define "shop.providerUrl" -}}
{{ .Values.provider.url | default (printf "http://fakepay:%d" (int .Values.fakepay.port)) }}
{{- end }}

{{- /* Whether the operations page throws the sandbox's switches. */}}
{{- define "shop.hasControl" -}}
{{ and .Values.allowFaults (not .Values.provider.url) }}
{{- end }}

{{- /* What every process of the shop is told. */}}
{{- define "shop.commonEnv" -}}
SHOPD_ENVIRONMENT: {{ .Values.environment | quote }}
SHOPD_LOG_LEVEL: {{ .Values.logLevel | quote }}
SHOPCTL_DATA_DIR: /var/lib/shop
SHOPCTL_SECRETS_FILE: /run/shop/secrets/secrets.json
{{- end }}

{{- /* What every process with a database is told. Takes root, connections. */}}
{{- define "shop.databaseEnv" -}}
SHOPCTL_ENGINE: postgres
SHOPCTL_DATABASE_URL: {{ include "shop.databaseUrl" .root | quote }}
SHOPCTL_DATABASE_PASSWORD_FILE: /run/shop/database/password
SHOPD_CONNECTIONS: {{ .connections | quote }}
SHOPD_WAIT_SECONDS: {{ .root.Values.waitSeconds | quote }}
{{- end }}

{{- /* All that a service's process is told beyond its arguments. Takes root, name, service. */}}
{{- define "shop.serviceEnv" -}}
{{- $values := .root.Values -}}
{{ include "shop.commonEnv" .root }}
{{ include "shop.databaseEnv" (dict "root" .root "connections" .service.connections) }}
SHOPD_MIGRATE: never
SHOPD_TWINS: "true"
SHOPD_ALLOW_FAULTS: {{ $values.allowFaults | quote }}
{{- with $values.telemetry.otlp.url }}
SHOPD_OTLP_URL: {{ . | quote }}
{{- end }}
{{- if eq .name "gateway" }}
SHOPD_METRICS_LISTEN: {{ printf "%s:%d" $values.listenAddress (int $values.gateway.metricsPort) | quote }}
SHOPD_LIMITS: {{ $values.limits | quote }}
SHOPD_PROXIES: {{ if $values.ingress.enabled }}{{ add 1 (int $values.gateway.proxies) | quote }}{{ else }}{{ int $values.gateway.proxies | quote }}{{ end }}
SHOPD_PUBLIC_TLS: {{ and $values.ingress.enabled $values.ingress.tls.enabled | quote }}
{{- end }}
{{- if or (eq .name "payment") (and (eq .name "gateway") (eq (include "shop.hasControl" .root) "true")) }}
SHOPD_PROVIDER_URL: {{ include "shop.providerUrl" .root | quote }}
{{- end }}
{{- if or (eq .name "gateway") (eq .name "notification") }}
SHOPD_SHOP_URL: {{ include "shop.url" .root | quote }}
{{- end }}
{{- if eq .name "notification" }}
SHOPD_SENDER: {{ $values.smtp.sender | quote }}
{{- if $values.smtp.host }}
SHOPD_SMTP: {{ printf "%s:%d" $values.smtp.host (int $values.smtp.port) | quote }}
SHOPD_SMTP_TLS: {{ $values.smtp.tls | quote }}
{{- if $values.smtp.user }}
SHOPD_SMTP_USER: {{ $values.smtp.user | quote }}
SHOPD_SMTP_PASSWORD_FILE: /run/shop/smtp/password
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The files that every process with a database reads. */}}
{{- define "shop.mounts" -}}
- name: data
  mountPath: /var/lib/shop
- name: secrets
  mountPath: /run/shop/secrets
  readOnly: true
- name: database
  mountPath: /run/shop/database
  readOnly: true
{{- if .Values.database.external.caSecret }}
- name: database-ca
  mountPath: /run/shop/database-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "shop.volumes" -}}
- name: data
  emptyDir:
    sizeLimit: 256Mi
- name: secrets
  secret:
    secretName: {{ include "shop.secretsName" . }}
    defaultMode: 288 # 0440
    items:
      - {key: secrets.json, path: secrets.json}
- name: database
  secret:
    secretName: {{ include "shop.databaseName" . }}
    defaultMode: 288 # 0440
    items:
      - {key: password, path: password}
{{- with .Values.database.external.caSecret }}
- name: database-ca
  secret:
    secretName: {{ . }}
    defaultMode: 288 # 0440
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- end }}

{{- /* The networks of a side outside, as peers. Whoever means everywhere does not mean the neighbours. Takes the networks. */}}
{{- define "shop.outside" -}}
{{- range . }}
- ipBlock:
    cidr: {{ . }}
    {{- if eq . "0.0.0.0/0" }}
    except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16]
    {{- end }}
{{- end }}
{{- end }}
