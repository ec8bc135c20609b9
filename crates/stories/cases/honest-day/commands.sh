# A day of an agent that deploys: what it may do without asking anybody. One command a line, run by bash (with `pipefail`) in a copy of `work/`,
# once against the bare API server as the agent's own ServiceAccount, and once through the gateway as the agent. Each ends with 0, or with the
# code behind `#exit`, on both ways; and through the gateway each request is allowed, and in the record.
#
# `$NS` is the agent's namespace, and that of the kubeconfig. A line that ends in `#node` needs a node that runs pods.
# `## HH:MM` is what time it is from there on: limits are counted by the hour and by the minute.

## 08:00 It looks around.
kubectl version
kubectl api-resources --namespaced
kubectl api-resources --api-group=apps -o wide
kubectl api-versions
kubectl explain deployment.spec.strategy
kubectl explain cronjobs --recursive
kubectl auth whoami
kubectl auth can-i create deployments.apps
kubectl auth can-i create rolebindings #exit 1
kubectl auth can-i list nodes #exit 1
kubectl auth can-i --list
kubectl get namespace $NS
kubectl describe namespace $NS
kubectl get resourcequotas,limitranges
kubectl get all
kubectl get pods,services,configmaps,secrets,ingresses,networkpolicies,jobs,cronjobs
kubectl get deployment shop-web #exit 1
kubectl get serviceaccount default -o yaml
kubectl get --raw /api/v1/namespaces/$NS/pods?limit=5

## 08:20 It brings an application.
kubectl apply -f app/ --dry-run=client
kubectl apply -f app/ --dry-run=server
kubectl diff -f app/config.yaml #exit 1
kubectl apply -f app/config.yaml
kubectl apply -f app/secret.yaml
kubectl apply -f app/
kubectl apply -f app/
kubectl wait deployment/shop-web --for=condition=Available --timeout=120s #node
kubectl rollout status deployment/shop-web --timeout=120s #node
kubectl wait pod -l app=shop --for=condition=Ready --timeout=60s #node
kubectl diff -f app/web.yaml -f app/config.yaml -f app/service.yaml
kubectl apply view-last-applied deployment/shop-web
kubectl apply set-last-applied -f app/config.yaml

## 08:40 It looks at what it brought, in every form.
kubectl get pods -o wide
kubectl get pods -o name
kubectl get pods -o yaml
kubectl get pods -o json
kubectl get pods -o jsonpath='{.items[*].status.phase}'
kubectl get pods -o jsonpath-as-json='{.items[*].metadata.name}'
kubectl get pods -o jsonpath-file=path.txt
kubectl get pods -o go-template='{{len .items}}'
kubectl get pods -o go-template-file=names.tmpl
kubectl get pods -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName
kubectl get pods -o custom-columns-file=columns.txt
kubectl get pods --show-labels --no-headers
kubectl get pods -L app,tier --sort-by=.metadata.creationTimestamp
kubectl get pods -l 'app=shop,tier in (web)' --field-selector=status.phase!=Failed
kubectl get deployment shop-web -o yaml --show-managed-fields
kubectl get secret shop-db -o yaml
kubectl get events --sort-by=.lastTimestamp
kubectl events --for deployment/shop-web
kubectl events --types=Warning,Normal
kubectl describe deployment shop-web
kubectl describe pods -l app=shop
kubectl describe service,pdb shop-web
kubectl describe secret shop-db
kubectl get endpointslices -l kubernetes.io/service-name=shop-web
kubectl get replicasets -l app=shop
kubectl logs deployment/shop-web #node
kubectl logs -l app=shop --tail=1 --prefix --timestamps #node
kubectl logs deployment/shop-web --since=1h --limit-bytes=100 #node
timeout 2 kubectl get pods --watch #exit 124
timeout 2 kubectl logs -f deployment/shop-web #exit 124 #node

## 09:20 It rolls out changes.
kubectl apply -f config-2.yaml
kubectl rollout restart deployment/shop-web
kubectl rollout status deployment/shop-web --timeout=120s #node
kubectl set env deployment/shop-web LOG_LEVEL=debug
kubectl set env deployment/shop-web --list
kubectl set env deployment/shop-web --from=configmap/shop-config --prefix=SHOP_
kubectl set resources deployment/shop-web --limits=memory=64Mi
kubectl set image deployment/shop-web web=mantlet.test/busybox:1
kubectl rollout history deployment/shop-web
kubectl rollout history deployment/shop-web --revision=2
kubectl rollout pause deployment/shop-web
kubectl set env deployment/shop-web CACHE=off
kubectl rollout resume deployment/shop-web
kubectl rollout status deployment/shop-web --timeout=120s #node
kubectl set image deployment/shop-web web=mantlet.test/nosuch:2
kubectl rollout status deployment/shop-web --timeout=2s #exit 1 #node
kubectl get pods -l app=shop #node
kubectl rollout undo deployment/shop-web
kubectl rollout undo deployment/shop-web --to-revision=2 --dry-run=server
kubectl rollout status deployment/shop-web --timeout=120s #node
kubectl annotate deployment/shop-web kubernetes.io/change-cause='back from 2'

## 10:00 It changes objects one by one.
kubectl scale deployment/shop-web --replicas=3
kubectl scale deployment/shop-web --current-replicas=3 --replicas=2
kubectl get deployment shop-web --subresource=scale
kubectl label deployment shop-web team=shop
kubectl label deployment shop-web team=cart --overwrite
kubectl label deployment shop-web team-
kubectl label pods -l app=shop seen=yes #node
kubectl annotate service shop-web note=seen
kubectl annotate service shop-web note-
kubectl patch deployment shop-web --patch-file patch.yaml
kubectl patch deployment shop-web --type merge -p '{"spec":{"minReadySeconds":1}}'
kubectl patch deployment shop-web --type json -p '[{"op":"remove","path":"/spec/minReadySeconds"}]'
kubectl patch deployment shop-web --subresource=scale --type merge -p '{"spec":{"replicas":1}}'
kubectl patch configmap shop-config -p '{"data":{"EXTRA":"yes"}}' --dry-run=server -o yaml
EDITOR='sed -i s/hello/hi/;s/morning/evening/' kubectl edit configmap shop-config
EDITOR=cat kubectl edit deployment shop-web
kubectl get configmap shop-config -o json | sed 's/evening/night/' | kubectl replace -f -
kubectl get service shop-web -o yaml | kubectl apply -f - --server-side --force-conflicts
kubectl apply -f app/budget.yaml --server-side --force-conflicts
kubectl replace -f app/budget.yaml --force
kubectl apply -f app/config.yaml --server-side --field-manager=deployer --force-conflicts
kubectl diff -f app/config.yaml --server-side --force-conflicts --field-manager=deployer
kubectl autoscale deployment shop-web --min=1 --max=2 --cpu=80%
kubectl get hpa shop-web
kubectl delete hpa shop-web

## 10:40 It makes small things by hand.
kubectl create configmap flags --from-literal=beta=on
kubectl create configmap files --from-file=columns.txt --from-file=names.tmpl
kubectl create configmap flags --from-literal=beta=on #exit 1
kubectl create configmap flags --from-literal=beta=off --dry-run=client -o yaml | kubectl apply -f -
kubectl create secret generic shop-mail --from-literal=token=not-for-the-eyes-of-agents
kubectl create secret generic shop-mail --from-literal=token=another --dry-run=client -o yaml | kubectl replace -f -
kubectl create secret docker-registry shop-pull --docker-server=registry.example.com --docker-username=shop --docker-password=not-for-the-eyes
kubectl create deployment admin --image=mantlet.test/busybox:1 --replicas=0 -- sleep 600
kubectl expose deployment admin --port=80 --target-port=8080
kubectl create service clusterip shop-cache --tcp=6379
kubectl create ingress admin --rule='admin.example.com/*=admin:80' --dry-run=client -o yaml
kubectl create poddisruptionbudget admin --selector=app=admin --min-available=1
kubectl create serviceaccount shop-web
kubectl set serviceaccount deployment/shop-web shop-web
kubectl rollout status deployment/shop-web --timeout=120s #node

## 11:20 It runs jobs.
kubectl create -f jobs/migrate.yaml
kubectl wait job/migrate --for=condition=Complete --timeout=120s #node
kubectl logs job/migrate #node
kubectl logs -f job/migrate --tail=1 #node
kubectl describe job migrate
kubectl apply -f jobs/report.yaml
kubectl create job report-now --from=cronjob/report
kubectl wait --for=condition=Complete job/report-now --timeout=120s #node
kubectl create cronjob hourly --image=mantlet.test/busybox:1 --schedule='0 * * * *' -- true
kubectl patch cronjob hourly -p '{"spec":{"suspend":true}}'
kubectl get cronjobs,jobs -o wide
kubectl create job once --image=mantlet.test/busybox:1 -- true
kubectl delete job migrate report-now once

## 12:00 It finds out why something fails.
kubectl apply -f jobs/broken.yaml
kubectl wait pod/broken --for=jsonpath='{.status.containerStatuses[0].lastState.terminated.exitCode}'=3 --timeout=120s #node
kubectl logs broken --previous #node
kubectl describe pod broken
kubectl get pod broken -o jsonpath='{.status.containerStatuses[0].restartCount}'
kubectl get events --field-selector involvedObject.name=broken
kubectl events --for pod/broken
kubectl logs nosuch #exit 1
kubectl run probe --image=mantlet.test/busybox:1 --image-pull-policy=Never --restart=Never -- echo here
kubectl wait pod/probe --for=jsonpath='{.status.phase}'=Succeeded --timeout=120s #node
kubectl logs probe #node
kubectl delete pod broken probe --now

## 12:40 Another part comes by kustomize.
kubectl kustomize kustomize/test
kubectl apply -k kustomize/test --dry-run=server
kubectl diff -k kustomize/base #exit 1
kubectl apply -k kustomize/test
kubectl rollout status deployment/worker-test --timeout=120s #node
kubectl get -k kustomize/test
kubectl logs deployment/worker-test #node
kubectl scale deployment/worker-test --replicas=1
kubectl delete -k kustomize/test

## 13:20 And another as a chart.
helm lint chart
helm template cart chart
helm list
helm install cart chart --dry-run=server
helm install cart chart --wait --timeout 2m #node
helm list -o json
helm status cart
helm get all cart
helm get values cart
helm get manifest cart
helm upgrade cart chart --set color=green --wait --timeout 2m #node
helm upgrade --install cart chart --set color=red,replicas=2 --wait --timeout 2m #node
helm history cart
helm rollback cart 1 --wait --timeout 2m #node
helm test cart --timeout 2m #node
helm uninstall cart --wait --timeout 2m #node
helm status cart #exit 1
helm list --failed --pending

## 14:00 Programs that it wrote work as well.
clientgo typed -n $NS
clientgo informer -n $NS
clientgo dynamic -n $NS

## 14:40 It cleans up.
kubectl delete configmap flags files
kubectl delete secret shop-mail shop-pull
kubectl delete service,pdb,deployment admin
kubectl delete service shop-cache
kubectl delete cronjob hourly report --cascade=foreground
kubectl delete configmap nosuch #exit 1
kubectl delete configmap nosuch --ignore-not-found

## 15:20 It goes.
kubectl delete pdb -l app=shop
kubectl delete deployment shop-web --dry-run=server
kubectl delete -f app/ --ignore-not-found
kubectl delete serviceaccount shop-web
kubectl get all
