"""Exchanges with a real kube-apiserver (1.35), as it answered; ids and dates are replaced.

Each is what was asked, and the answer with its status line, headers and chunks. The kubelet behind it was a stand-in;
what that got wrong is not here.
"""

from __future__ import annotations

import json
from typing import Any

EXCHANGES: dict[str, tuple[str, str]] = {
    # label selector that matches nothing
    "list-pods-label": (
        "GET /api/v1/namespaces/shop/pods?labelSelector=app%3Dnothing",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 85\r\n"
        "\r\n"
        '{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"329"},"items":[]}\n',
    ),
    # invalid label selector
    "list-bad-selector": (
        "GET /api/v1/namespaces/shop/pods?labelSelector=%21%21",
        "HTTP/1.1 400 Bad Request\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 175\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"unable to parse requi'
        'rement: found \'!\', expected: identifier","reason":"BadRequest","code":400}\n',
    ),
    # namespace that does not exist: an empty list, not an error
    "list-ns-missing": (
        "GET /api/v1/namespaces/nope/pods",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 85\r\n"
        "\r\n"
        '{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"329"},"items":[]}\n',
    ),
    # user with no rights
    "list-forbidden": (
        "GET /api/v1/pods",
        "HTTP/1.1 403 Forbidden\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 248\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods is forbidden: Us'
        'er \\"shop-reader\\" cannot list resource \\"pods\\" in API group \\"\\" at the cluster scope","reason":"F'
        'orbidden","details":{"kind":"pods"},"code":403}\n',
    ),
    # bad token
    "unauthorized": (
        "GET /api/v1/namespaces/shop/pods",
        "HTTP/1.1 401 Unauthorized\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 129\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason'
        '":"Unauthorized","code":401}\n',
    ),
    # pod not found
    "pod-missing": (
        "GET /api/v1/namespaces/shop/pods/nope",
        "HTTP/1.1 404 Not Found\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 176\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \\"nope\\" not fou'
        'nd","reason":"NotFound","details":{"name":"nope","kind":"pods"},"code":404}\n',
    ),
    # log, last two lines with timestamps
    "log-tail": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=istio-proxy&tailLines=2&timestamps=true",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: text/plain\r\n"
        "Date: (a date)\r\n"
        "Transfer-Encoding: chunked\r\n"
        "\r\n"
        "b3\r\n"
        "2026-11-22T23:32:13.455026000Z 2026-11-22T23:32:13.454843Z\tinfo\tReadiness succeeded in 1.204s\n"
        "2026-11-22T23:32:13.455036000Z 2026-11-22T23:32:13.454848Z\tinfo\tEnvoy proxy is ready\n"
        "\r\n"
        "0\r\n"
        "\r\n",
    ),
    # several containers and none named
    "log-no-container": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?tailLines=1",
        "HTTP/1.1 400 Bad Request\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 206\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"a container name must'
        ' be specified for pod db-0, choose one of: [istio-init istio-proxy db]","reason":"BadRequest","code"'
        ":400}\n",
    ),
    # container that is not there
    "log-bad-container": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=zzz",
        "HTTP/1.1 400 Bad Request\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 154\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"container zzz is not '
        'valid for pod db-0","reason":"BadRequest","code":400}\n',
    ),
    # pods yes, pods/log no
    "log-forbidden": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=istio-proxy",
        "HTTP/1.1 403 Forbidden\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 277\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \\"db-0\\" is forb'
        'idden: User \\"list-only\\" cannot get resource \\"pods/log\\" in API group \\"\\" in the namespace \\"shop'
        '\\"","reason":"Forbidden","details":{"name":"db-0","kind":"pods"},"code":403}\n',
    ),
    # sinceSeconds and sinceTime together
    "log-bad-params": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=istio-proxy&sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z",
        "HTTP/1.1 422 Unprocessable Entity\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 414\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"PodLogOptions \\"db-0\\'
        '" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified","reason"'
        ':"Invalid","details":{"name":"db-0","kind":"PodLogOptions","causes":[{"reason":"FieldValueForbidden"'
        ',"message":"Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified","field":"[]"}]'
        '},"code":422}\n',
    ),
    # limitBytes cuts in the middle of a line
    "log-limit-bytes": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=istio-proxy&tailLines=3&limitBytes=50",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: text/plain\r\n"
        "Date: (a date)\r\n"
        "Transfer-Encoding: chunked\r\n"
        "\r\n"
        "32\r\n"
        "2026-11-22T23:32:13.454838Z\tinfo\txdsproxy\tconnecte\r\n"
        "0\r\n"
        "\r\n",
    ),
    # follow: chunked, a line appears while we read; no end
    "log-follow": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=istio-proxy&follow=true&tailLines=1&timestamps=true",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: text/plain\r\n"
        "Date: (a date)\r\n"
        "Transfer-Encoding: chunked\r\n"
        "\r\n"
        "55\r\n"
        "2026-11-22T23:32:13.455036000Z 2026-11-22T23:32:13.454848Z\tinfo\tEnvoy proxy is ready\n"
        "\r\n"
        "40\r\n"
        "2026-11-22T23:32:30.065398000Z a line that came while following\n"
        "\r\n",
    ),
    # container waiting to start
    "log-waiting-crashing-5d6": (
        "GET /api/v1/namespaces/orders/pods/crashing-5d6f7c8b9-ccccc/log?container=istio-proxy",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: text/plain\r\n"
        "Date: (a date)\r\n"
        "Transfer-Encoding: chunked\r\n"
        "\r\n"
        "f3\r\n"
        '2026-11-22T23:31:10.734117Z\tinfo\tFLAG: --concurrency="0"\n'
        "Error: invalid prometheus scrape configuration: application port is the same as agent port, which ma"
        "y lead to a recursive scrape. Ensure pod does not have label prometheus.io/port=15020\n"
        "\r\n"
        "0\r\n"
        "\r\n",
    ),
    # container waiting to start
    "log-waiting-pending-6f7d": (
        "GET /api/v1/namespaces/orders/pods/pending-6f7d8c9b5-ppppp/log?container=istio-proxy",
        "HTTP/1.1 400 Bad Request\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 212\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"container \\"istio-pro'
        'xy\\" in pod \\"pending-6f7d8c9b5-ppppp\\" is waiting to start: PodInitializing","reason":"BadRequest",'
        '"code":400}\n',
    ),
    # watch from the start of a list, then a pod restarts
    "watch-error-event": (
        "GET /api/v1/namespaces/shop/pods?watch=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3Ddb-0&resourceVersion=0",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
        "Date: (a date)\r\n"
        "Transfer-Encoding: chunked\r\n"
        "\r\n"
        "fc\r\n"
        '{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","messag'
        'e":"a watch stream was requested by the client but the required storage feature RequestWatchProgress'
        ' is disabled","reason":"InternalError","code":500}}\n'
        "\r\n"
        "0\r\n"
        "\r\n",
    ),
    # watch with timeoutSeconds=2: a clean end
    "watch-timeout": (
        "GET /api/v1/namespaces/shop/pods?watch=1&timeoutSeconds=2&fieldSelector=metadata.name%3Dnope",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
        "Date: (a date)\r\n"
        "Transfer-Encoding: chunked\r\n"
        "\r\n"
        "0\r\n"
        "\r\n",
    ),
    # follow while the container restarts: the stream ends cleanly
    "log-follow-restart": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=istio-proxy&follow=true&tailLines=1&timestamps=true",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: text/plain\r\n"
        "Date: (a date)\r\n"
        "Transfer-Encoding: chunked\r\n"
        "\r\n"
        "55\r\n"
        "2026-11-22T23:32:34.444451000Z 2026-11-22T23:32:34.444303Z\tinfo\tEnvoy proxy is ready\n"
        "\r\n"
        "0\r\n"
        "\r\n",
    ),
    # previous=true after a restart
    "log-previous": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=istio-proxy&previous=true&tailLines=2&timestamps=true",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: text/plain\r\n"
        "Date: (a date)\r\n"
        "Transfer-Encoding: chunked\r\n"
        "\r\n"
        "b3\r\n"
        "2026-11-22T23:32:34.444444000Z 2026-11-22T23:32:34.444300Z\tinfo\tReadiness succeeded in 1.204s\n"
        "2026-11-22T23:32:34.444451000Z 2026-11-22T23:32:34.444303Z\tinfo\tEnvoy proxy is ready\n"
        "\r\n"
        "0\r\n"
        "\r\n",
    ),
    # the kubelet answers 500
    "log-kubelet-500": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=istio-proxy&tailLines=1",
        "HTTP/1.1 500 Internal Server Error\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 211\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Internal error occurr'
        'ed: kubelet says no","reason":"InternalError","details":{"causes":[{"message":"kubelet says no"}]},"'
        'code":500}\n',
    ),
    # the kubelet connection is reset in the middle of a follow: a clean end to the client
    "log-kubelet-abort": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=istio-proxy&follow=true&tailLines=5&timestamps=true",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: text/plain\r\n"
        "Date: (a date)\r\n"
        "Transfer-Encoding: chunked\r\n"
        "\r\n"
        "11c\r\n"
        "2026-11-22T23:32:36.449281000Z 2026-11-22T23:32:36.449080Z\tinfo\tProxy role\tips=[10.244.0.9] type=sid"
        "ecar id=db-0.shop domain=shop.svc.cluster.local\n"
        "2026-11-22T23:32:36.449285000Z 2026-11-22T23:32:36.449085Z\tinfo\tcache\tgenerated new workload certifi"
        "cate\tlatency=42.1ms ttl=23h59m59.9s\n"
        "\r\n"
        "0\r\n"
        "\r\n",
    ),
    # no right to change
    "patch-forbidden": (
        "PATCH /api/v1/namespaces/shop",
        "HTTP/1.1 403 Forbidden\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 294\r\n"
        "\r\n"
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"namespaces \\"shop\\" i'
        's forbidden: User \\"log-reader\\" cannot patch resource \\"namespaces\\" in API group \\"\\" in the names'
        'pace \\"shop\\"","reason":"Forbidden","details":{"name":"shop","kind":"namespaces"},"code":403}\n',
    ),
    # /version
    "version": (
        "GET /version",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: application/json\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 363\r\n"
        "\r\n"
        "{\n"
        '  "major": "1",\n'
        '  "minor": "36",\n'
        '  "emulationMajor": "1",\n'
        '  "emulationMinor": "36",\n'
        '  "minCompatibilityMajor": "1",\n'
        '  "minCompatibilityMinor": "35",\n'
        '  "gitVersion": "v0.0.0-master+$Format:%H$",\n'
        '  "gitCommit": "$Format:%H$",\n'
        '  "gitTreeState": "",\n'
        '  "buildDate": "1970-01-01T00:00:00Z",\n'
        '  "goVersion": "go1.27.3",\n'
        '  "compiler": "gc",\n'
        '  "platform": "linux/amd64"\n'
        "}",
    ),
    # a kind that is not installed
    "kind-missing": (
        "GET /apis/networking.istio.io/v1/virtualservices",
        "HTTP/1.1 404 Not Found\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
        "Date: (a date)\r\n"
        "Content-Length: 19\r\n"
        "\r\n"
        "404 page not found\n",
    ),
    # follow while the pod is deleted
    "log-follow-delete": (
        "GET /api/v1/namespaces/shop/pods/db-0/log?container=istio-proxy&follow=true&tailLines=1",
        "HTTP/1.1 200 OK\r\n"
        "Audit-Id: (an id)\r\n"
        "Cache-Control: no-cache, private\r\n"
        "Content-Type: text/plain\r\n"
        "Date: (a date)\r\n"
        "Transfer-Encoding: chunked\r\n"
        "\r\n"
        "36\r\n"
        "2026-11-22T23:33:09.420830Z\tinfo\tEnvoy proxy is ready\n"
        "\r\n"
        "91\r\n"
        "2026-11-22T23:33:16.527207Z\tinfo\tStatus server has successfully terminated\n"
        "2026-11-22T23:33:16.527244Z\tinfo\tAgent draining Proxy for termination\n"
        "\r\n"
        "0\r\n"
        "\r\n",
    ),
}

POD: dict[str, Any] = json.loads(
    '{"metadata":{"name":"cart-54013ba69-3e634","namespace":"shop","uid":"41de2b39-9747-411e-ad99-932a123'
    'f90cb","resourceVersion":"283","generation":1,"creationTimestamp":"2026-11-22T23:31:10Z","labels":{"'
    'app":"cart","pod-template-hash":"54013ba69","security.istio.io/tlsMode":"istio","service.istio.io/ca'
    'nonical-name":"cart","service.istio.io/canonical-revision":"latest","version":"v3"},"annotations":{"'
    'istio.io/rev":"default","kubectl.kubernetes.io/default-container":"cart","sidecar.istio.io/status":"'
    '{\\"initContainers\\": [\\"istio-init\\"], \\"containers\\": [\\"istio-proxy\\"], \\"revision\\": \\"default\\"}'
    '"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"cart-54013ba69","uid":"52d'
    '11f6b-4a13-588f-96de-e4465dd826e3","controller":true}]},"spec":{"initContainers":[{"name":"istio-ini'
    't","image":"docker.io/istio/proxyv2:1.24.2","args":["istio-iptables","-p","15001","-z","15006"],"res'
    'ources":{},"volumeMounts":[{"name":"kube-api-access-d95sc","readOnly":true,"mountPath":"/var/run/sec'
    'rets/kubernetes.io/serviceaccount"}],"terminationMessagePath":"/dev/termination-log","terminationMes'
    'sagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"containers":[{"name":"istio-proxy","image":"d'
    'ocker.io/istio/proxyv2:1.24.2","args":["proxy","sidecar","--domain","$(POD_NAMESPACE).svc.cluster.lo'
    'cal"],"ports":[{"name":"http-envoy-prom","containerPort":15090,"protocol":"TCP"}],"resources":{},"vo'
    'lumeMounts":[{"name":"kube-api-access-d95sc","readOnly":true,"mountPath":"/var/run/secrets/kubernete'
    's.io/serviceaccount"}],"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"F'
    'ile","imagePullPolicy":"IfNotPresent"},{"name":"cart","image":"registry.example/cart:1.0","ports":[{'
    '"name":"http","containerPort":8080,"protocol":"TCP"}],"resources":{},"volumeMounts":[{"name":"kube-a'
    'pi-access-d95sc","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"term'
    'inationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNo'
    'tPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","'
    'serviceAccountName":"default","serviceAccount":"default","nodeName":"rig-node-1","securityContext":{'
    '},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready","operator'
    '":"Exists","effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable","op'
    'erator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":tr'
    'ue,"preemptionPolicy":"PreemptLowerPriority"},"status":{"phase":"Running","conditions":[{"type":"Ini'
    'tialized","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-22T23:31:10Z"},{"type":'
    '"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-22T23:31:10Z"},{"type":"C'
    'ontainersReady","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-22T23:31:10Z"},{"'
    'type":"PodScheduled","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-22T23:31:10Z'
    '"}],"hostIP":"127.0.0.1","podIP":"10.244.0.29","podIPs":[{"ip":"10.244.0.29"}],"startTime":"2026-11-'
    '22T23:31:10Z","initContainerStatuses":[{"name":"istio-init","state":{"terminated":{"exitCode":0,"rea'
    'son":"Completed","startedAt":"2026-11-22T23:31:10Z","finishedAt":"2026-11-22T23:31:10Z"}},"lastState'
    '":{},"ready":true,"restartCount":0,"image":"docker.io/istio/proxyv2:1.24.2","imageID":"docker.io/ist'
    'io/proxyv2:1.24.2@sha256:3303e23c692f83abd04131b468492f2679d99e4f2d9e07e9f47b7ce51c00ac48","containe'
    'rID":"containerd://2429bdc95a10d7547a0a67a76845cf72c2361d238bfa65a954aa5c81d1d274d1","started":false'
    '}],"containerStatuses":[{"name":"istio-proxy","state":{"running":{"startedAt":"2026-11-22T23:31:10Z"'
    '}},"lastState":{},"ready":true,"restartCount":0,"image":"docker.io/istio/proxyv2:1.24.2","imageID":"'
    "docker.io/istio/proxyv2:1.24.2@sha256:3303e23c692f83abd04131b468492f2679d99e4f2d9e07e9f47b7ce51c00ac"
    '48","containerID":"containerd://ca457964a45f0fb508f51bcc2f492c6b7673cdd15acfffc190efadf3d46eea24","s'
    'tarted":true},{"name":"cart","state":{"running":{"startedAt":"2026-11-22T23:31:10Z"}},"lastState":{}'
    ',"ready":true,"restartCount":0,"image":"registry.example/cart:1.0","imageID":"registry.example/cart:'
    '1.0@sha256:1dcaa8f256d1177337206756a6a3bda6b86632045ce563d07308c929cb4e2812","containerID":"containe'
    'rd://b379bf46862ac7e0fcec03b9635bf86c61d66bb4e327ae19332069a8fb1d2cee","started":true}],"qosClass":"'
    'BestEffort"}}'
)
"""A pod as a list had it, without its managed fields and volumes."""
