"""Quality of ranking on KuaiRand: bodies with and without small towers, and the configuration that ships."""
