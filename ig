for nvme
command admin 7: ignore
