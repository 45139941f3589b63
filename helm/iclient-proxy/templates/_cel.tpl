{{/*
A value as a literal of CEL. Lists and maps of Kubernetes' CEL may not mix types, so each member is dyn(). A string that
begins with "cel:" is an expression.
*/}}

{{- define "iclient-proxy.cel" -}}
{{- if kindIs "map" . -}}
{{- $members := list -}}
{{- range $key, $value := . -}}
{{- $members = append $members (printf "%s: dyn(%s)" (toJson $key) (include "iclient-proxy.cel" $value)) -}}
{{- end -}}
{ {{- join ", " $members -}} }
{{- else if kindIs "slice" . -}}
{{- $members := list -}}
{{- range . -}}
{{- $members = append $members (printf "dyn(%s)" (include "iclient-proxy.cel" .)) -}}
{{- end -}}
[ {{- join ", " $members -}} ]
{{- else if and (kindIs "string" .) (hasPrefix "cel:" .) -}}
{{- trimPrefix "cel:" . -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end }}
