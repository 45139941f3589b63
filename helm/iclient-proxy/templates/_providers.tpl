{{- define "iclient-proxy.providers" -}}
{}
{{- end }}
