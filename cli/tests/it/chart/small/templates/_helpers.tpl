{{- /* What the other templates share. */}}
{{- define "small.labels" -}}
name: {{ .name }}
part: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "small.outer" -}}
<{{ include "small.inner" . }}>
{{- end }}

{{- define "small.inner" }}{{ $ }}/{{ . }}{{ end }}

{{- define "small.spaces" }}
  inside
{{ end }}
